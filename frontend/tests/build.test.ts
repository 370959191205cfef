// component-ready.tsx, as it is committed, is what TealStreet can run.

import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import React from "react";
import { renderToString } from "react-dom/server";
import ts from "typescript";
import { expect, test, vi } from "vitest";
// @ts-expect-error: a plain script, run by node
import { ready } from "../scripts/build-component.mjs";
import { minimalApi } from "./setup";

const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8");
const pasted = read("../static/frontend/component-ready.tsx");
const built = ready as (text: string) => string;

test("it is up to date: the build of component.tsx gives the same bytes", () => {
  expect(pasted).toBe(built(read("../tealstreet/component.tsx")));
});

test("it parses, imports and exports nothing, and ends in the component", () => {
  const source = ts.createSourceFile("ready.tsx", pasted, ts.ScriptTarget.ES2022, true, ts.ScriptKind.TSX);
  expect((source as unknown as { parseDiagnostics: unknown[] }).parseDiagnostics).toEqual([]);
  for (const node of source.statements) {
    expect(ts.isImportDeclaration(node) || ts.isExportAssignment(node) || ts.isExportDeclaration(node)).toBe(false);
    const modifiers = ts.canHaveModifiers(node) ? (ts.getModifiers(node) ?? []) : [];
    expect(modifiers.map((modifier) => modifier.getText())).not.toContain("export");
  }
  expect(source.statements.at(-1)!.getText()).toBe("Component");
});

test("it evaluates with nothing but React and api, and renders its first load", () => {
  const script = ts.transpileModule(pasted, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, jsx: ts.JsxEmit.React, module: ts.ModuleKind.ESNext },
  }).outputText;
  const body = script.trimEnd().replace(/Component;$/, "return Component;");
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- evaluating a text is what the terminal does
  const module = new Function("React", "api", body) as (...scope: unknown[]) => () => React.ReactElement;
  const Component = module(React, minimalApi);
  vi.spyOn(console, "error").mockImplementation(() => undefined); // layout effects have no meaning in a string
  const html = renderToString(React.createElement(Component));
  expect(html).toContain("Connecting…");
  expect(html).toContain("aria-busy");
});

test("strings that look like imports are left alone", () => {
  expect(
    built(
      'import React from "react";\nexport const a = "import x from \'y\'; export default z";\nfunction Component() {}\nexport default Component;\n',
    ),
  ).toBe("const a = \"import x from 'y'; export default z\";\nfunction Component() { }\n\nComponent\n");
});

test("types and comments are left out, the head of the file stays, and it is small enough to load over a slow link", () => {
  expect(
    built("// Head.\n\n// Note.\ninterface A {\n  a: 1;\n}\nconst a: A = { a: 1 }; // why\nexport default a;\n"),
  ).toBe("// Head.\nconst a = { a: 1 };\n\nComponent\n");
  expect(gzipSync(pasted, { level: 9 }).length).toBeLessThan(70_000);
});
