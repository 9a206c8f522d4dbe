def findings(result): return ()
