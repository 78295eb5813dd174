import { html } from "./kit.js";

// What a page needs around the answer: copying, and a voice for those who hear it.

// Copies a text, by the old way where the new one is not to be had, as on a page opened from a file; whether it did.
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const before = document.activeElement;
    const field = html("textarea", { class: "ql-find-hidden", "aria-hidden": "true", readonly: true });
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    before?.focus();
    return done;
  }
}
