// Optional. Paste as TealStreet's *global module* when several anomaly panels shall start from the same choices; a panel's
// own settings, once changed in it, come first. Every key of `Settings` in component.tsx may stand here.

const anomalyPanelDefaults = {
  server: "http://localhost:3001",
  layout: "compact",
  hiddenSeverities: ["LOW"],
};

Object.assign(globalThis, { __anomalyDefaults: anomalyPanelDefaults });

export { anomalyPanelDefaults };
