import { Component, type ComponentChildren } from "preact";
import { ErrorNote } from "./error.js";

interface Props {
  readonly children: ComponentChildren;
  /** The place that is shown. At another one, it is tried again. */
  readonly place: string;
}

/** Shows what a part of the page has thrown in its place, so that the others stay. */
export class ErrorBoundary extends Component<Props, { error: unknown }> {
  override state = { error: undefined as unknown };

  static override getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override componentDidUpdate(before: Props) {
    if (before.place !== this.props.place && this.state.error !== undefined) this.setState({ error: undefined });
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
