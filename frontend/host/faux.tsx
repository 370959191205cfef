// The terminal around the panel, as far as a module can tell: resizable panels, a theme, an active symbol.

import "./panel-page.css";
import { themeAtom } from "./faux-api";
import { App, ConfigProvider, Layout, Segmented, Slider, theme as antdTheme } from "antd";
import { useAtom } from "jotai";
import React from "react";
import { createRoot } from "react-dom/client";
import Panel from "../tealstreet/component";

const WIDTHS = [280, 360, 600, 900, 1200];

function Terminal() {
  const [theme, setTheme] = useAtom(themeAtom);
  const [width, setWidth] = React.useState(600);
  const [panels, setPanels] = React.useState(1);
  return (
    <ConfigProvider theme={{ algorithm: theme === "light" ? antdTheme.defaultAlgorithm : antdTheme.darkAlgorithm }}>
      <App>
        <Layout style={{ height: "100vh" }}>
          <Layout.Header style={{ display: "flex", gap: 16, alignItems: "center", height: 48, paddingInline: 16 }}>
            <Segmented
              options={WIDTHS.map((value) => ({ value, label: `${value} px` }))}
              value={width}
              onChange={setWidth}
            />
            <Slider min={240} max={1600} value={width} onChange={setWidth} style={{ width: 200 }} />
            <Segmented options={["dark", "light"]} value={theme} onChange={setTheme} />
            <Segmented
              options={[
                { value: 1, label: "1 panel" },
                { value: 2, label: "2 panels" },
              ]}
              value={panels}
              onChange={setPanels}
            />
          </Layout.Header>
          <Layout.Content
            style={{
              background: theme === "light" ? "#d9dee5" : "#05070a",
              display: "flex",
              gap: 12,
              padding: 12,
              overflow: "auto",
              minHeight: 0,
            }}
          >
            {Array.from({ length: panels }, (_, i) => (
              <div
                key={i}
                style={{
                  width,
                  flex: "none",
                  height: "100%",
                  border: "1px solid #323b4a",
                  borderRadius: 6,
                  overflow: "hidden",
                }}
              >
                <Panel />
              </div>
            ))}
          </Layout.Content>
        </Layout>
      </App>
    </ConfigProvider>
  );
}

createRoot(document.getElementById("root")!).render(<Terminal />);
