/** Characters that can't be seen, or that change the order of others. */

/** Those that are no controls, as in a class of a regular expression with the flag `u`. */
const FORMAT = "\\p{Cf}\\p{Zl}\\p{Zp}\\p{Co}\\p{Cs}\\p{Default_Ignorable_Code_Point}\\u2800";
const CLASS = `[\\p{Cc}${FORMAT}]`;

/** All such characters of a text but controls, for editors, which have lines and show controls by themselves. */
export const EACH_FORMAT = new RegExp(`[${FORMAT}]`, "gu");

/** One such character. */
export const INVISIBLE = new RegExp(CLASS, "u");
/** All such characters of a text. */
export const EACH_INVISIBLE = new RegExp(CLASS, "gu");

/** Returns a visible name of a character: `⟨U+202E⟩`. */
export function nameOf(character: string): string {
  return `⟨U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

/** Returns a text with all its invisible characters named, for titles and labels. `lines`: newlines and tabs stay. */
export function visible(text: string, lines = false): string {
  return text.replace(EACH_INVISIBLE, (one) => (lines && /[\n\t]/.test(one) ? one : nameOf(one)));
}
