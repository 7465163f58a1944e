import { useEffect, useState } from "preact/hooks";
import { Button } from "../ui/button.js";
import { ErrorNote } from "../ui/error.js";
import { Page } from "../ui/panel.js";

/** The licences of other people's code in the console. */
export function LicensesPage() {
  const [text, setText] = useState("");
  const [error, setError] = useState<unknown>();
  useEffect(() => {
    fetch(new URL("./licenses.txt", import.meta.url))
      .then(async (response) => setText(await response.text()))
      .catch(setError);
  }, []);
  return (
    <main class="licenses">
      <Page title="Third-party licences" actions={<Button onClick={() => history.back()}>Back</Button>}>
        <p class="muted">This console has code of these packages in it.</p>
        <ErrorNote error={error} />
        <pre>{text}</pre>
      </Page>
    </main>
  );
}
