/// <reference types="vite/client" />
// In place of the component (`vite --mode pasted`): the text that is pasted, evaluated the way the terminal does it: once
// per mounted panel, with nothing in scope but `React` and `api`.

import type { Api } from "api-types";
import React from "react";
import ts from "typescript";
import text from "../static/frontend/component-ready.tsx?raw";

function evaluate(): () => React.ReactElement {
  const compilerOptions = { target: ts.ScriptTarget.ES2022, jsx: ts.JsxEmit.React, module: ts.ModuleKind.ESNext };
  const script = ts.transpileModule(text, { compilerOptions }).outputText;
  const end = script.lastIndexOf("Component;");
  const { api } = globalThis as unknown as { api: Api };
  const body = `${script.slice(0, end)}return ${script.slice(end)}`;
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- evaluating a text is what the terminal does
  const module = new Function("React", "api", body) as (...scope: unknown[]) => () => React.ReactElement;
  return module(React, api);
}

export default function Pasted() {
  const [component] = React.useState(evaluate);
  return React.createElement(component);
}
