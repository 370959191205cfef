import "./panel-page.css";
import "./web-api";
import React from "react";
import { createRoot } from "react-dom/client";
import Panel from "../tealstreet/component";

createRoot(document.getElementById("root")!).render(<Panel />);
