// `taken` comes first: what is imported runs in this order.
import { secret } from './shell/taken';
import './shell/trusted';
import { mount } from 'svelte';
import App from './App.svelte';
import './theme.css';

const target = document.getElementById('app');
if (target) mount(App, { target, props: { secret } });
