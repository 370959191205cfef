// Every text a user of the panel can see is in plain English: no private verbs, no riddles (docs of the project, Language).

import { readFileSync } from "node:fs";
import ts from "typescript";
import { expect, test } from "vitest";

const FILES = ["../tealstreet/component.tsx", "../host/web-api.ts"];
const REFUSED =
  /\b(tells?|told|hears?|heard|took|says|said|speaks?|nobody|somebody|anybody|whoever|goes with|parts from|stands? still)\b/i;
/** Attributes and variables whose text no user reads. */
const UNSEEN = ["className", "STYLE"];

/** The text of every string, template and JSX text of a file, with its line; not imports, class names and CSS. */
export function texts(source: ts.SourceFile): { line: number; text: string }[] {
  const found: { line: number; text: string }[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isTypeNode(node)) return;
    if ((ts.isJsxAttribute(node) || ts.isVariableDeclaration(node)) && UNSEEN.includes(node.name.getText(source)))
      return;
    if (ts.isStringLiteralLike(node) || ts.isTemplateLiteralToken(node) || ts.isJsxText(node)) {
      const line = source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
      found.push({ line, text: node.text.replace(/\s+/g, " ").trim() });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found.filter(({ text }) => text !== "");
}
const parse = (name: string, text: string) => ts.createSourceFile(name, text, ts.ScriptTarget.ES2022, true);
const refused = (text: string) => REFUSED.test(text);

test.each(FILES)("%s shows no private verb", (path) => {
  const found = texts(parse(path, readFileSync(new URL(path, import.meta.url), "utf8")));
  expect(found.map(({ text }) => text)).toContain(path.includes("component") ? "No alerts" : "Copy for TealStreet");
  expect(found.filter(({ text }) => refused(text))).toEqual([]);
});

test("strings, templates and JSX text are looked at; class names, types and words that only look alike are not", () => {
  const source = `
    import { told } from "./told";
    const STYLE = \`.told{color:red}\`;
    type Kind = "told";
    const a = "What was missed cannot be told"; const b = \`\${a} is told late\`;
    const c = <p className="told" title="The server said no">Nobody came</p>;
    const d = "A hearing, a teller, foretold, mistook";`;
  const seen = texts(parse("a.tsx", source)).map(({ text }) => text);
  expect(seen.filter(refused)).toEqual([
    "What was missed cannot be told",
    "is told late",
    "The server said no",
    "Nobody came",
  ]);
  expect(seen).toContain("A hearing, a teller, foretold, mistook");
});
