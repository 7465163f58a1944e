/** The pages of scripts, as tests open and use them. */

import type { Circle } from "@circled/client";
import { SecretKey } from "@circled/client/keys";
import type { Browser, Locator, Page } from "playwright-core";
import { Profile } from "./browser.js";
import type { ConsoleServer } from "./server.js";

export interface Opened {
  /** The circle's key. */
  readonly key: SecretKey;
  /** Its owner's connection. */
  readonly circle: Circle;
  readonly profile: Profile;
  readonly page: Page;
}

export interface OpenOptions {
  readonly at?: string;
  /** Opens the console as this member; else as the owner. */
  readonly member?: SecretKey;
  readonly keep?: boolean;
}

/** Makes a circle with some scripts, by their names, and opens the console there. */
export async function openScripts(
  [browser, server]: readonly [Browser, ConsoleServer],
  sources: Record<string, string> = {},
  { at = "scripts", member, keep = false }: OpenOptions = {},
): Promise<Opened> {
  const key = SecretKey.generate();
  const circle = await server.connect(key.pubkey, key);
  for (const [name, source] of Object.entries(sources)) await circle.putScript({ name, source });
  if (member) await circle.addMember({ pubkey: member.pubkey });
  const profile = await Profile.open(browser, server);
  const page = await profile.logIn(key.pubkey, member ?? key, { at, keep });
  return { key, circle, profile, page };
}

/** The editor's text. */
export const editor = (page: Page): Locator => page.locator(".workbench .cm-content");
export const button = (page: Page, name: string): Locator => page.getByRole("button", { name, exact: true });

/** Waits until the page shows a text. */
export async function shows(page: Page, text: string): Promise<void> {
  await page.getByText(text, { exact: true }).first().waitFor();
}

/** Replaces the text in the editor, as somebody who pastes. */
export async function type(page: Page, text: string): Promise<void> {
  await editor(page).click();
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.insertText(text);
}
