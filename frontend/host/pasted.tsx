/// <reference types="vite/client" />
// In place of the component (`vite --mode pasted`): the text that is pasted, evaluated the way the terminal does it: once
// per mounted panel, with nothing in scope but `React` and `api`.

import type { Api } from "api-types";
import React from "react";
import ts from "typescript";
import text from "../static/frontend/component-ready.tsx?raw";

function evaluate(): React.ComponentType {
  const compilerOptions = { target: ts.ScriptTarget.ES2022, jsx: ts.JsxEmit.React, module: ts.ModuleKind.ESNext };
  const script = ts.transpileModule(text, { compilerOptions }).outputText;
  const end = script.lastIndexOf("Component;");
  const { api } = globalThis as unknown as { api: Api };
  return new Function("React", "api", `${script.slice(0, end)}return ${script.slice(end)}`)(
    React,
    api,
  ) as React.ComponentType;
}

export default function Pasted() {
  const Component = React.useMemo(evaluate, []);
  return <Component />;
}
