// component.tsx → component-ready.tsx, the text that is pasted into TealStreet.
//
// TypeScript's own parser says what is an import, an export or an ambient declaration; everything else stays as written,
// comments and types included (TealStreet's editor takes TSX). The result ends in `Component`: the module's value.

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const has = (node, kind) =>
  ts.canHaveModifiers(node) && (ts.getModifiers(node)?.some((modifier) => modifier.kind === kind) ?? false);

/** Text ranges of a module that TealStreet must not see, in order. */
function* cuts(source) {
  for (const node of source.statements) {
    const whole = [node.getStart(source), node.end];
    if (ts.isImportDeclaration(node) || ts.isExportAssignment(node) || ts.isExportDeclaration(node)) yield whole;
    else if (has(node, ts.SyntaxKind.DeclareKeyword)) yield whole;
    else if (ts.canHaveModifiers(node)) {
      for (const modifier of ts.getModifiers(node) ?? []) {
        const isExport =
          modifier.kind === ts.SyntaxKind.ExportKeyword || modifier.kind === ts.SyntaxKind.DefaultKeyword;
        if (isExport) yield [modifier.getStart(source), modifier.end + 1];
      }
    }
  }
}

export function ready(text, component = "Component") {
  const source = ts.createSourceFile("component.tsx", text, ts.ScriptTarget.ES2022, true, ts.ScriptKind.TSX);
  if (source.parseDiagnostics.length)
    throw new Error(
      ts.formatDiagnostics(source.parseDiagnostics, {
        getCanonicalFileName: (name) => name,
        getCurrentDirectory: () => "",
        getNewLine: () => "\n",
      }),
    );
  let [kept, from] = ["", 0];
  for (const [start, end] of cuts(source)) {
    kept += text.slice(from, start);
    from = text[end] === "\n" && (kept === "" || kept.endsWith("\n")) ? end + 1 : end;
  }
  kept += text.slice(from);
  return `${kept.trimEnd()}\n\n${component}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const at = (path) => fileURLToPath(new URL(path, import.meta.url));
  const text = ready(readFileSync(at("../tealstreet/component.tsx"), "utf8"));
  writeFileSync(at("../static/frontend/component-ready.tsx"), text);
  console.log(`component-ready.tsx: ${text.split("\n").length} lines`);
}
