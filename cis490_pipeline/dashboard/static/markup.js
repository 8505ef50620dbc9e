// Templates that show untrusted names safely: none is invisible or reorders its neighbours.
import * as lit from './vendor/lit-html/lit-html.js';

export const {nothing, render} = lit;
const HIDDEN = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ud802\ud803\ud83a\ud83b\ufb1d-\ufefc]/;

/** Escapes invisible characters, isolates right-to-left text. */
export function shown(value) {
  if (Array.isArray(value)) return value.map(shown);
  if (typeof value !== 'string') return value;
  const text = value.replace(HIDDEN, (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));
  return RIGHT_TO_LEFT.test(text) ? `\u2068${text}\u2069` : text;
}
const over = (tag) => (strings, ...values) => tag(strings, ...values.map(shown));
export const html = over(lit.html), svg = over(lit.svg);
export const joined = (texts, between) => texts.flatMap((text, i) => (i ? [between, text] : [text]));
