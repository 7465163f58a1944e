/** The console: shows the app in the page. */

import "./styles/index.css";
import { render } from "preact";
import { App } from "./app.js";
import { startTheme } from "./theme.js";

export * from "./kit.js";

startTheme();
render(<App />, document.getElementById("app") as HTMLElement);
