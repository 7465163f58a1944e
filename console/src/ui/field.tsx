import { type ComponentChildren, createContext } from "preact";
import { useContext, useId } from "preact/hooks";
import { Icon } from "./icon.js";

/** The ids that tie a label, a hint and an error to the input in a field. */
const Ids = createContext<{ id: string; describedBy: string | undefined; isInvalid: boolean } | undefined>(undefined);

interface FieldProps {
  readonly label: string;
  readonly hint?: ComponentChildren;
  readonly error?: ComponentChildren;
  /** Shows the label only to those who don't see the page. */
  readonly hideLabel?: boolean;
  readonly children: ComponentChildren;
}

/** An input with its label, a hint and an error. It ties the one input in it. */
export function Field({ label, hint, error, hideLabel, children }: FieldProps) {
  const id = useId();
  const noteId = `${id}-note`;
  const note = error || hint;
  return (
    <div class="field">
      <label for={id} class={hideLabel ? "hidden" : undefined}>
        {label}
      </label>
      <Ids.Provider value={{ id, describedBy: note ? noteId : undefined, isInvalid: Boolean(error) }}>
        {children}
      </Ids.Provider>
      {note && (
        <div id={noteId} class={error ? "field-error" : "hint"} role={error ? "alert" : undefined}>
          {note}
        </div>
      )}
    </div>
  );
}

function useTies(label: string | undefined) {
  const ids = useContext(Ids);
  return {
    id: ids?.id,
    "aria-label": ids ? undefined : label,
    "aria-describedby": ids?.describedBy,
    "aria-invalid": ids?.isInvalid ? (true as const) : undefined,
  };
}

export interface InputProps {
  readonly value: string;
  readonly onInput: (value: string) => void;
  readonly placeholder?: string | undefined;
  /** The name, where there is no `<Field>` around it. */
  readonly label?: string | undefined;
  readonly disabled?: boolean | undefined;
  readonly mono?: boolean | undefined;
  readonly autofocus?: boolean | undefined;
}

const focus = (input: HTMLElement | null) => input?.focus();

/** One line of text. */
export function TextInput(
  props: InputProps & { type?: "text" | "number" | "url" | "password" | "datetime-local"; onEnter?: () => void },
) {
  return (
    <input
      {...useTies(props.label)}
      type={(props.type ?? "text") as "text"}
      class={props.mono ? "input mono" : "input"}
      ref={props.autofocus ? focus : null}
      value={props.value}
      placeholder={props.placeholder}
      disabled={props.disabled}
      autocomplete="off"
      autocapitalize="off"
      spellcheck={false}
      onInput={(event) => props.onInput(event.currentTarget.value)}
      onKeyDown={(event) => event.key === "Enter" && props.onEnter?.()}
    />
  );
}

/** Lines of text. */
export function TextArea(props: InputProps & { rows?: number }) {
  return (
    <textarea
      {...useTies(props.label)}
      class={props.mono ? "input mono" : "input"}
      ref={props.autofocus ? focus : null}
      rows={props.rows ?? 6}
      value={props.value}
      placeholder={props.placeholder}
      disabled={props.disabled}
      spellcheck={false}
      onInput={(event) => props.onInput(event.currentTarget.value)}
    />
  );
}

export interface SelectProps<T extends string> {
  readonly value: T;
  readonly onInput: (value: T) => void;
  readonly options: readonly (T | { readonly value: T; readonly label: string })[];
  readonly label?: string | undefined;
  readonly disabled?: boolean | undefined;
}

/** A choice of few. */
export function Select<T extends string>(props: SelectProps<T>) {
  return (
    <select
      {...useTies(props.label)}
      class="input select"
      value={props.value}
      disabled={props.disabled}
      onChange={(event) => props.onInput(event.currentTarget.value as T)}
    >
      {props.options.map((option) => {
        const { value, label } = typeof option === "string" ? { value: option, label: option } : option;
        return (
          <option key={value} value={value} selected={value === props.value}>
            {label}
          </option>
        );
      })}
    </select>
  );
}

/** A field to search or filter a list. The key `/` moves the focus to it. */
export function SearchInput(props: InputProps) {
  return (
    <div class="search">
      <Icon name="search" />
      <input
        {...useTies(props.label ?? props.placeholder ?? "Search")}
        type="search"
        class="input"
        data-search
        value={props.value}
        placeholder={props.placeholder}
        disabled={props.disabled}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => props.onInput(event.currentTarget.value)}
      />
    </div>
  );
}

/** A box to tick, with its label. */
export function Checkbox(props: {
  checked: boolean;
  onInput: (checked: boolean) => void;
  children: ComponentChildren;
}) {
  return (
    <label class="checkbox">
      <input type="checkbox" checked={props.checked} onChange={(event) => props.onInput(event.currentTarget.checked)} />
      <span>{props.children}</span>
    </label>
  );
}
