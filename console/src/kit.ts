/**
 * All that the pages share. console.js exports it, and the pages' own files take it from there (see build.mjs), so each module is
 * there once. The names of values are unique across these modules, which the build checks; those of types need not be.
 */
// @ts-nocheck

export * from "@circled/client";
export * from "@circled/client/address";
export * from "@circled/client/json";
export * from "@circled/client/keys";
export * from "@circled/client/signers";
export * from "@preact/signals";
export * from "preact";
export * from "preact/hooks";
export * from "preact/jsx-runtime";
export * from "./frame/account.js";
export * from "./frame/pages.js";
export * from "./local.js";
export * from "./login/browser-signer.js";
export * from "./login/circles.js";
export * from "./login/key-store.js";
export * from "./login/login.js";
export * from "./login/resume.js";
export * from "./login/tabs.js";
export * from "./router.js";
export * from "./session.js";
export * from "./superseded.js";
export * from "./tab-texts.js";
export * from "./theme.js";
export * from "./ui/badge.js";
export * from "./ui/boundary.js";
export * from "./ui/button.js";
export * from "./ui/copy.js";
export * from "./ui/dialog.js";
export * from "./ui/download.js";
export * from "./ui/empty.js";
export * from "./ui/error.js";
export * from "./ui/explain.js";
export * from "./ui/field.js";
export * from "./ui/icon.js";
export * from "./ui/invisible.js";
export * from "./ui/json.js";
export * from "./ui/key.js";
export * from "./ui/panel.js";
export * from "./ui/pre.js";
export * from "./ui/table.js";
export * from "./ui/text.js";
export * from "./ui/time.js";
export * from "./ui/toast.js";
export * from "./ui/toasts.js";
export * from "./ui/use-live.js";
export * from "./ui/use-query.js";
export * from "./wire.js";
