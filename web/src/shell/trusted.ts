// With `require-trusted-types-for 'script'` a browser takes no plain text for code. Svelte has a policy of its own for its templates; what is left
// are workers, whose code may come from this origin alone.

interface Factory {
  createPolicy(name: string, rules: { createScriptURL: (url: string) => string }): unknown;
}

const { trustedTypes } = globalThis as { trustedTypes?: Factory };

trustedTypes?.createPolicy('default', {
  createScriptURL: (url) => {
    if (new URL(url, location.href).origin !== location.origin) throw new TypeError('code of another origin');
    return url;
  },
});
