import { Dialog } from "../ui/dialog.js";
import { PAGES } from "./pages.js";
import { isHelpShown } from "./shortcuts.js";

/** The list of shortcuts. */
export function Help() {
  if (!isHelpShown.value) return null;
  const close = () => {
    isHelpShown.value = false;
  };
  const keys: [string[], string][] = [
    ...Object.values(PAGES).map(({ letter, title }): [string[], string] => [["g", letter], title]),
    [["g", "t"], "Light, dark, or as the system"],
    [["/"], "Search or filter this page"],
    [["↑", "↓"], "Move in a list"],
    [["Enter"], "Open the row"],
    [["?"], "These shortcuts"],
  ];
  return (
    <Dialog title="Keyboard shortcuts" onClose={close}>
      <dl class="shortcuts">
        {keys.map(([combination, what]) => (
          <div key={what}>
            <dt>{what}</dt>
            <dd>
              {combination.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dd>
          </div>
        ))}
      </dl>
      <p class="hint help-foot">
        <a href="#/licenses">Third-party licences</a>
      </p>
    </Dialog>
  );
}
