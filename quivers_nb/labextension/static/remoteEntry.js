// Colours for %%qvr cells in JupyterLab and Notebook, and the pictures that notebooks keep of runs,
// written by hand: there is nothing to build.
//
// The file plays the part of a federated module. JupyterLab loads it, calls `init` with the
// packages that it shares, then `get` for the plugin. Whatever goes wrong in here costs the colours
// and nothing else: every entry is guarded, and a cell without colours is still a cell.
(() => {
  "use strict";

  const NAME = "quivers-nb";

  // A cell is ours if its first line is %%qvr; magics that run the rest of the cell may precede it.
  const OURS = /^(?:\s*%%(?:time|capture)\b.*\n)*\s*%%qvr\b.*(?:\n|$)/;

  // Words are keywords only where the grammar expects them: leaders begin a line.
  const LEADERS =
    "composition category rule schema object morphism bundle program data contraction let export " +
    "deduction signature encoder decoder loss sample observe marginalize score return atoms binders " +
    "lexicon sorts constructors vertex_kinds edge_kinds dim iterations readout init message update " +
    "var_init structure primitive factor binder_select body";
  const OPERATIONS =
    "identity cup cap from_data fan repeat stack scan parser ccg lambek chart_fold";
  const SPACES =
    "FinSet Real Simplex Sphere Ball CholeskyFactor Covariance Correlation Orthogonal Stiefel " +
    "LowerTriangular Diagonal FreeMonoid FreeResiduated";

  const any = words => `(?:${words.split(" ").join("|")})`;

  // One alternative per class, in the order of CLASSES.
  const TOKEN = new RegExp(
    [
      String.raw`#\{[\s\S]*?\}#|#(?!!?\[).*$`,
      String.raw`"(?:[^"\\\n]|\\.)*"`,
      String.raw`(?<=^[ \t]*)${any(LEADERS)}\b(?!\s*[(=])`,
      String.raw`\b${any(OPERATIONS)}(?=\s*\()|\bfactor(?=\s+\w+\s*:)|\bin\b`,
      String.raw`\b${any(SPACES)}\b|\b[A-Z]\w*(?=\s*\()|(?<=~\s*)[A-Z]\w*`,
      String.raw`\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b`,
      String.raw`[<>=*~|?&+$%@-]{2,}|[~@:*/+-]`,
      String.raw`[A-Za-z_]\w*`,
    ].map(pattern => `(${pattern})`).join("|"),
    "gm"
  );
  const CLASSES = [
    "comment", "string", "keyword", "keyword", "type", "number", "operator", "name",
  ];

  const tokens = (text, emit) => {
    const head = OURS.exec(text);
    if (head === null) return;
    TOKEN.lastIndex = head[0].length;
    for (let match = TOKEN.exec(text); match !== null; match = TOKEN.exec(text)) {
      const group = match.findIndex((part, i) => i > 0 && part !== undefined);
      emit(match.index, match.index + match[0].length, `qvr-${CLASSES[group - 1]}`);
      if (match[0] === "") TOKEN.lastIndex += 1;
    }
  };

  const colour = name => ({ color: `var(--jp-mirror-editor-${name}-color) !important` });
  const THEME = {
    ".qvr-keyword": { ...colour("keyword"), fontWeight: "bold" },
    ".qvr-comment": { ...colour("comment"), fontStyle: "italic" },
    ".qvr-string": colour("string"),
    ".qvr-type": colour("def"),
    ".qvr-number": colour("number"),
    ".qvr-operator": colour("operator"),
    ".qvr-name": colour("variable"),
  };

  const extension = (view, state) => {
    const build = editor => {
      const builder = new state.RangeSetBuilder();
      try {
        tokens(editor.state.doc.toString(), (from, to, name) =>
          builder.add(from, to, view.Decoration.mark({ class: name })));
      } catch (error) {
        console.warn(`${NAME}: a cell is left without colours`, error);
      }
      return builder.finish();
    };
    const plugin = view.ViewPlugin.fromClass(
      class {
        constructor(editor) { this.decorations = build(editor); }
        update(change) { if (change.docChanged) this.decorations = build(change.view); }
      },
      { decorations: value => value.decorations }
    );
    // The innermost mark decides the colour: ours lies inside the marks of the Python grammar.
    return [state.Prec.highest(plugin), view.EditorView.baseTheme(THEME)];
  };

  let scope = null;
  const shared = async name => {
    const versions = scope[name];
    return (await versions[Object.keys(versions)[0]].get())();
  };

  const plugin = async () => {
    const [codemirror, view, state] = await Promise.all(
      ["@jupyterlab/codemirror", "@codemirror/view", "@codemirror/state"].map(shared)
    );
    return {
      id: `${NAME}:colours`,
      description: "Colours for %%qvr cells.",
      autoStart: true,
      requires: [codemirror.IEditorExtensionRegistry],
      activate: (app, registry) => registry.addExtension({
        name: `${NAME}:colours`,
        factory: () => codemirror.EditorExtensionRegistry.createImmutableExtension(
          extension(view, state)
        ),
      }),
    };
  };

  // A notebook that is opened again has the view of a widget that no kernel knows, and JupyterLab
  // says so in place of the picture that was saved beside it. Ours are shown instead.
  const LOST = ".jp-OutputArea-output.jupyter-widgets";
  const PERIOD = 1000;

  const lost = node => node.textContent.startsWith("Error displaying widget");

  const outputs = function* (panel) {
    for (const { outputArea } of panel.content.widgets) {
      if (!outputArea || !outputArea.node.querySelector(LOST)) continue;
      for (let i = 0; i < outputArea.widgets.length; i++) {
        const node = outputArea.widgets[i].node;
        const place = node.matches(LOST) ? node : node.querySelector(LOST);
        if (place && lost(place)) yield [place, outputArea.model.get(i)];
      }
    }
  };

  const show = async panel => {
    for (const [place, model] of outputs(panel)) {
      const html = model.data["text/html"];
      if (!html || ![html].flat().join("").includes('class="quivers"')) continue;
      const renderer = panel.content.rendermime.createRenderer("text/html");
      place.textContent = "";
      await renderer.renderModel(model);
      place.replaceChildren(renderer.node);
    }
  };

  // A page that was opened after a panel was shown gets no updates of its output. The panel's view
  // says what the notebook should keep, and it is written where the view is, if it is news.
  const keep = (panel, node, kept) => {
    for (const { outputArea } of panel.content.widgets) {
      if (!outputArea || !outputArea.node.contains(node)) continue;
      for (let i = 0; i < outputArea.widgets.length; i++) {
        if (!outputArea.widgets[i].node.contains(node)) continue;
        const output = outputArea.model.get(i).toJSON();
        const news = Object.keys(kept).some(type => [output.data[type]].flat().join("") !== kept[type]);
        if (news) outputArea.model.set(i, { ...output, data: { ...output.data, ...kept } });
        return;
      }
    }
  };

  const saved = async () => {
    const { INotebookTracker } = await shared("@jupyterlab/notebook");
    return {
      id: `${NAME}:saved`,
      description: "Pictures that notebooks keep of runs.",
      autoStart: true,
      optional: [INotebookTracker],
      activate: (app, tracker) => {
        if (!tracker) return; // a page of Voila has no notebook to keep anything in
        document.addEventListener("qvr-kept", event => {
          tracker.forEach(panel => {
            try {
              if (panel.node.contains(event.target)) keep(panel, event.target, event.detail);
            } catch (error) {
              console.warn(`${NAME}: the final picture is not in the notebook`, error);
            }
          });
        });
        setInterval(() => {
          if (![...document.querySelectorAll(LOST)].some(lost)) return;
          tracker.forEach(panel => show(panel).catch(error => console.warn(NAME, error)));
        }, PERIOD);
      },
    };
  };

  const nothing = { id: `${NAME}:colours`, autoStart: true, activate: () => undefined };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB[NAME] = {
    init: packages => { scope = packages; },
    get: async () => {
      const found = [];
      for (const [make, loss] of [[plugin, "colours"], [saved, "saved pictures"]]) {
        try {
          found.push(await make());
        } catch (error) {
          console.warn(`${NAME}: %%qvr cells are left without ${loss}`, error);
        }
      }
      return () => ({ __esModule: true, default: found.length ? found : nothing });
    },
  };
})();
