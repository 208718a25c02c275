// The editor, as this page uses it: CodeMirror 6 in a shadow root, so that its styles are constructed sheets, which a Content-Security-Policy without
// inline styles permits. Loaded when a file is edited first.

import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import { bracketMatching, defaultHighlightStyle, foldGutter, foldKeymap, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting } from '@codemirror/language';
import { MergeView } from '@codemirror/merge';
import { highlightSelectionMatches, search, searchKeymap } from '@codemirror/search';
import { Compartment, EditorState, type Extension } from '@codemirror/state';
import { drawSelection, dropCursor, EditorView, highlightActiveLine, highlightActiveLineGutter, highlightSpecialChars, keymap, lineNumbers } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { languageOf } from './languages';

const theme = EditorView.theme({
  '&': { height: '100%', fontSize: '13px', backgroundColor: 'var(--surface)', color: 'var(--text)' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.5', overscrollBehavior: 'contain' },
  '.cm-content': { caretColor: 'var(--text)' },
  '.cm-gutters': { backgroundColor: 'var(--bg)', color: 'var(--dim)', borderRight: '1px solid var(--border)' },
  '.cm-activeLine': { backgroundColor: 'color-mix(in srgb, var(--hover) 55%, transparent)' },
  '.cm-activeLineGutter': { backgroundColor: 'var(--hover)' },
  '.cm-cursor': { borderLeftColor: 'var(--text)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': { backgroundColor: 'var(--selected)' },
  '.cm-panels': { backgroundColor: 'var(--bg)', color: 'var(--text)', borderColor: 'var(--border)' },
  '.cm-textfield, .cm-button': { backgroundColor: 'var(--surface)', backgroundImage: 'none', border: '1px solid var(--border)', borderRadius: '4px', color: 'var(--text)' },
  '.cm-searchMatch': { backgroundColor: 'color-mix(in srgb, var(--warn) 35%, transparent)' },
  '.cm-specialChar': { color: 'var(--danger)' },
});

const dark = HighlightStyle.define([
  { tag: [tags.keyword, tags.modifier, tags.operatorKeyword], color: '#c792ea' },
  { tag: [tags.string, tags.special(tags.string), tags.regexp], color: '#b5d48a' },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], color: '#f2a272' },
  { tag: [tags.comment, tags.meta], color: '#7d8b98', fontStyle: 'italic' },
  { tag: [tags.typeName, tags.className, tags.namespace], color: '#e9c77b' },
  { tag: [tags.function(tags.variableName), tags.labelName], color: '#7cb7f0' },
  { tag: [tags.propertyName, tags.attributeName], color: '#8fc6d8' },
  { tag: [tags.tagName, tags.heading], color: '#e98a92', fontWeight: '600' },
  { tag: tags.link, textDecoration: 'underline' },
  { tag: tags.emphasis, fontStyle: 'italic' },
  { tag: tags.strong, fontWeight: '700' },
  { tag: tags.invalid, color: 'var(--danger)' },
]);

/** Whether the page is dark now. */
const isDark = (): boolean => {
  const forced = document.documentElement.dataset.theme;
  return forced === undefined ? matchMedia('(prefers-color-scheme: dark)').matches : forced === 'dark';
};

export interface EditorOptions {
  host: HTMLElement;
  name: string;
  text: string;
  readOnly: boolean;
  wrap: boolean;
  onchange: () => void;
  /** Line and column, from 1. */
  oncursor: (line: number, column: number) => void;
  onsave: () => void;
}

export interface Editor {
  text(): string;
  focus(): void;
  setReadOnly(readOnly: boolean): void;
  setWrap(wrap: boolean): void;
  destroy(): void;
}

const common = (): Extension[] => [
  theme, EditorView.theme({}, { dark: isDark() }), syntaxHighlighting(isDark() ? dark : defaultHighlightStyle), lineNumbers(), highlightSpecialChars(), bracketMatching(), foldGutter(),
  // Only `\n` ends a line: other characters stay what they are.
  EditorState.lineSeparator.of('\n'), EditorState.tabSize.of(4),
];

/** Opens an editor in an element. */
export async function openEditor(options: EditorOptions): Promise<Editor> {
  const [readOnly, wrap] = [new Compartment(), new Compartment()];
  const language = await languageOf(options.name, options.text.slice(0, 200).split('\n')[0] ?? '');
  const root = options.host.shadowRoot ?? options.host.attachShadow({ mode: 'open' });
  const lock = (on: boolean): Extension => [EditorState.readOnly.of(on), EditorView.editable.of(!on)];
  const save = { key: 'Mod-s', run: () => (options.onsave(), true), preventDefault: true };
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: options.text,
      extensions: [
        keymap.of([save]), ...common(), highlightActiveLine(), highlightActiveLineGutter(), drawSelection(), dropCursor(), history(), indentOnInput(), search({ top: true }), highlightSelectionMatches(),
        indentUnit.of(indentOf(options.text)), keymap.of([...searchKeymap, ...historyKeymap, ...foldKeymap, ...defaultKeymap, indentWithTab]),
        readOnly.of(lock(options.readOnly)), wrap.of(options.wrap ? EditorView.lineWrapping : []), language ?? [],
        EditorView.contentAttributes.of({ 'aria-label': options.name }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) options.onchange();
          if (!update.docChanged && !update.selectionSet) return;
          const { head } = update.state.selection.main;
          const line = update.state.doc.lineAt(head);
          options.oncursor(line.number, head - line.from + 1);
        }),
      ],
    }),
  });
  return {
    text: () => view.state.doc.toString(),
    focus: () => view.focus(),
    setReadOnly: (on) => view.dispatch({ effects: readOnly.reconfigure(lock(on)) }),
    setWrap: (on) => view.dispatch({ effects: wrap.reconfigure(on ? EditorView.lineWrapping : []) }),
    destroy: () => {
      view.destroy();
      root.replaceChildren();
    },
  };
}

/** How the file indents: a tab, or as many blanks as its first indented line has, 2 to 8. */
function indentOf(text: string): string {
  const found = /^(\t| {2,8})\S/m.exec(text.slice(0, 20_000))?.[1];
  return found ?? '    ';
}

/** Two texts beside each other, what differs marked. Answers how to take it away. */
export async function openDiff(host: HTMLElement, name: string, theirs: string, ours: string): Promise<() => void> {
  const root = host.shadowRoot ?? host.attachShadow({ mode: 'open' });
  const language = (await languageOf(name, '')) ?? [];
  const side = (doc: string) => ({ doc, extensions: [...common(), language, EditorState.readOnly.of(true), EditorView.editable.of(false), EditorView.lineWrapping] });
  const view = new MergeView({ a: side(theirs), b: side(ours), root, parent: root, collapseUnchanged: { margin: 3, minSize: 6 } });
  return () => {
    view.destroy();
    root.replaceChildren();
  };
}
