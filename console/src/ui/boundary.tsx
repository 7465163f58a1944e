import { Component, type ComponentChildren } from "preact";
import { ErrorNote } from "./error.js";

/** Shows what a part of the page has thrown in its place, so that the others stay. */
export class ErrorBoundary extends Component<{ children: ComponentChildren }, { error: unknown }> {
  override state = { error: undefined as unknown };

  static override getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override render() {
    if (this.state.error === undefined) return this.props.children;
    return (
      <div class="table-empty">
        <ErrorNote error={this.state.error} />
      </div>
    );
  }
}
