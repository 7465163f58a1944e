/** The console: shows the app in the page. */

import "./styles/index.css";
import { render } from "preact";
import { App } from "./app.js";
import { startTheme } from "./theme.js";

export * from "./kit.js";

startTheme();
const app = document.getElementById("app") as HTMLElement;
app.replaceChildren();
render(<App />, app);
performance.mark("rendered");
