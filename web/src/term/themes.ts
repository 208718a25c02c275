import type { ITheme } from '@xterm/xterm';

/** Colours of a terminal on a light page; each readable on white. */
export const light: ITheme = {
  background: '#ffffff', foreground: '#1b2127', cursor: '#0b6394', cursorAccent: '#ffffff', selectionBackground: '#b9d9ee', selectionInactiveBackground: '#dfe6eb',
  black: '#1b2127', red: '#b3261e', green: '#1f7a3d', yellow: '#8a5a00', blue: '#0b57b0', magenta: '#8b2fa0', cyan: '#006d77', white: '#59636d',
  brightBlack: '#6a737c', brightRed: '#cf3a30', brightGreen: '#288a49', brightYellow: '#9c6b10', brightBlue: '#2069c7', brightMagenta: '#a344b8', brightCyan: '#0f7f89', brightWhite: '#3a434b',
};

/** The same on a dark page. */
export const dark: ITheme = {
  background: '#101316', foreground: '#dfe4e8', cursor: '#5fb6e6', cursorAccent: '#101316', selectionBackground: '#27506a', selectionInactiveBackground: '#29323a',
  black: '#2d343a', red: '#ff8a80', green: '#7fd09a', yellow: '#e6b455', blue: '#7cb7f2', magenta: '#d59be6', cyan: '#6fcdd6', white: '#c5ccd2',
  brightBlack: '#6b757e', brightRed: '#ffa9a1', brightGreen: '#a2e2b7', brightYellow: '#f3cd86', brightBlue: '#a5cef8', brightMagenta: '#e5bdf1', brightCyan: '#9ae0e7', brightWhite: '#f2f5f7',
};
