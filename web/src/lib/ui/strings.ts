import { dictionary } from '../i18n';

export const t = dictionary(
  { close: 'Close', cancel: 'Cancel', ok: 'OK', dismiss: 'Dismiss', notices: 'Notices' },
  { close: '关闭', cancel: '取消', ok: '确定', dismiss: '知道了', notices: '通知' },
);
