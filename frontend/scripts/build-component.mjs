// component.tsx → component-ready.tsx, the text that is pasted into TealStreet.
//
// TypeScript leaves out types and comments, which are a third of what a trader's page loads and are read in component.tsx;
// the head of the file stays. Its parser says what is an import or an export. JSX stays as written (TealStreet's editor
// takes TSX). The result ends in `Component`: the module's value.

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";

/** Text ranges of a module that TealStreet must not see, in order. What is ambient is a type, and gone already. */
function* cuts(source) {
  for (const node of source.statements) {
    const whole = [node.getStart(source), node.end];
    if (ts.isImportDeclaration(node) || ts.isExportAssignment(node) || ts.isExportDeclaration(node)) yield whole;
    else if (ts.canHaveModifiers(node)) {
      for (const modifier of ts.getModifiers(node) ?? []) {
        const isExport =
          modifier.kind === ts.SyntaxKind.ExportKeyword || modifier.kind === ts.SyntaxKind.DefaultKeyword;
        if (isExport) yield [modifier.getStart(source), modifier.end + 1];
      }
    }
  }
}

/** The comment that a file begins with. */
const headOf = (text) => /^(?:\/\/.*\n)*/.exec(text)[0];

/** `text` without types and comments. */
function plain(text) {
  const { outputText, diagnostics } = ts.transpileModule(text, {
    fileName: "component.tsx",
    reportDiagnostics: true,
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      jsx: ts.JsxEmit.Preserve,
      removeComments: true,
    },
  });
  if (diagnostics.length)
    throw new Error(
      ts.formatDiagnostics(diagnostics, {
        getCanonicalFileName: (name) => name,
        getCurrentDirectory: () => "",
        getNewLine: () => "\n",
      }),
    );
  return outputText;
}

export function ready(whole, component = "Component") {
  const text = plain(whole);
  const source = ts.createSourceFile("component.jsx", text, ts.ScriptTarget.ES2022, true, ts.ScriptKind.TSX);
  let [kept, from] = ["", 0];
  for (const [start, end] of cuts(source)) {
    kept += text.slice(from, start);
    from = text[end] === "\n" && (kept === "" || kept.endsWith("\n")) ? end + 1 : end;
  }
  kept += text.slice(from);
  return `${headOf(whole)}${kept.trimEnd()}\n\n${component}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const at = (path) => fileURLToPath(new URL(path, import.meta.url));
  const text = ready(readFileSync(at("../tealstreet/component.tsx"), "utf8"));
  writeFileSync(at("../static/frontend/component-ready.tsx"), text);
  console.log(`component-ready.tsx: ${text.split("\n").length} lines`);
}
