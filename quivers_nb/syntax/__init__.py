"""The front end: text to tree (`parser`), tree to text (`printer`), text to tokens (`tokens`)."""
