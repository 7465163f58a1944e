import { Field, Select, TextArea, TextInput } from "../../ui/field.js";
import { type Api, type Input, inputOf, type Method, type Param } from "./methods.js";
import { type Fields, faultOf } from "./params.js";
import { Prose } from "./prose.js";

interface FormProps {
  readonly method: Method;
  readonly api: Api;
  readonly fields: Fields;
  readonly onInput: (name: string, value: string) => void;
}

/** The parameters of a method, a field each. */
export function Form({ method, api, fields, onInput }: FormProps) {
  return (
    <>
      {method.params.map((param) => (
        <ParamField
          key={param.name}
          param={param}
          input={inputOf(param, api)}
          value={fields[param.name] ?? ""}
          onInput={(value) => onInput(param.name, value)}
        />
      ))}
    </>
  );
}

interface ParamFieldProps {
  readonly param: Param;
  readonly input: Input;
  readonly value: string;
  readonly onInput: (value: string) => void;
}

function ParamField({ param, input, value, onInput }: ParamFieldProps) {
  const { kind, options = ["true", "false"] } = input;
  const label = `${param.name}${param.required ? "" : " (optional)"}`;
  const control = { value, onInput, mono: true };
  return (
    <Field label={label} hint={<Prose text={param.schema.description ?? ""} />} error={faultOf(value, input)}>
      {kind === "choice" || kind === "boolean" ? (
        <Select value={value} onInput={onInput} options={[{ value: "", label: "not given" }, ...options]} />
      ) : kind === "lines" ? (
        <TextArea {...control} rows={5} />
      ) : kind === "json" ? (
        <TextArea {...control} rows={2} placeholder="JSON" />
      ) : (
        <TextInput {...control} />
      )}
    </Field>
  );
}
