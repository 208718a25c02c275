// Refusals in words. A refusal carries facts and no text (PROTOCOL 6): the reader words it.

import { ApiError, display } from './api';
import { dictionary } from './i18n';

const t = dictionary(
  {
    Offline: 'The machine can’t be reached.',
    Malformed: 'The request could not be understood.',
    TooLong: 'That is over a limit.',
    UnknownVerb: 'The machine’s towline does not know this request; is it older?',
    OutOfOrder: 'A message came at the wrong time.',
    UnknownKey: 'This browser is not signed in.',
    ExpiredKey: 'The access of this browser has expired.',
    RemovedKey: 'The access of this browser was removed.',
    NoRight: 'Your access does not allow that.',
    OutsideRoot: 'That is outside of the directory that your access covers.',
    NoInvitation: 'No invitation is open on that machine: it was used, or has expired.',
    WrongCode: 'The link is wrong.',
    UsedCode: 'That link has been used already. A link opens one browser.',
    ExpiredCode: 'That link has expired.',
    SpentCode: 'That link is void after too many wrong guesses.',
    NotFound: 'There is no such file or directory.',
    NotADirectory: 'It is not a directory.',
    IsADirectory: 'It is a directory.',
    Exists: 'It exists already.',
    PermissionDenied: 'The file system does not permit it.',
    ReadOnly: 'The file system is read-only.',
    NoSpace: 'There is no space left on that machine.',
    BadName: 'That name can’t be used.',
    SpecialFile: 'It is neither a file, a directory nor a link.',
    Changed: 'It was changed meanwhile.',
    Io: 'Reading or writing failed on that machine.',
    Corrupt: 'The content did not arrive as it was announced.',
    LinkLoop: 'There are too many symbolic links, or one that may not be followed.',
    NotEmpty: 'The directory is not empty.',
    TooDeep: 'It is nested too deeply.',
    OtherFileSystem: 'It is on another file system.',
    IntoItself: 'A directory can’t go into itself.',
    ProgramNotFound: 'There is no such program.',
    NotExecutable: 'It can’t be executed.',
    NoWorkingDirectory: 'That directory can’t be entered.',
    UnknownSession: 'There is no such session.',
    BadArgument: 'That argument can’t be passed on.',
    SessionRuns: 'The session still runs.',
    SessionEnded: 'The session has ended.',
    Busy: 'The machine is too busy. Try again in a moment.',
    Stopping: 'The machine’s towline is stopping.',
    Internal: 'An internal error of the machine’s towline; its log says more.',
    Http429: 'Too many attempts. Wait a minute and try again.',
    other: 'The machine refused ({name}).',
    about: '{path}: {text}',
  },
  {
    Offline: '无法连接到这台机器。',
    Malformed: '无法理解该请求。',
    TooLong: '超出了限制。',
    UnknownVerb: '对方的 towline 不认识这个请求，版本可能较旧。',
    OutOfOrder: '消息到达的顺序不对。',
    UnknownKey: '此浏览器尚未登录。',
    ExpiredKey: '此浏览器的访问权限已过期。',
    RemovedKey: '此浏览器的访问权限已被移除。',
    NoRight: '您的权限不允许这样做。',
    OutsideRoot: '该路径在您可访问的目录之外。',
    NoInvitation: '那台机器上没有有效的邀请：已被使用或已过期。',
    WrongCode: '链接不正确。',
    UsedCode: '该链接已被使用。一个链接只能登录一个浏览器。',
    ExpiredCode: '该链接已过期。',
    SpentCode: '错误次数过多，该链接已作废。',
    NotFound: '没有这个文件或目录。',
    NotADirectory: '这不是目录。',
    IsADirectory: '这是一个目录。',
    Exists: '已经存在。',
    PermissionDenied: '文件系统不允许。',
    ReadOnly: '文件系统是只读的。',
    NoSpace: '那台机器上没有剩余空间。',
    BadName: '不能使用这个名称。',
    SpecialFile: '它不是文件、目录或链接。',
    Changed: '它在此期间被更改了。',
    Io: '那台机器上读写失败。',
    Corrupt: '收到的内容与声明的不符。',
    LinkLoop: '符号链接过多，或有不允许跟随的链接。',
    NotEmpty: '目录不为空。',
    TooDeep: '嵌套过深。',
    OtherFileSystem: '位于另一个文件系统。',
    IntoItself: '目录不能放进它自己里面。',
    ProgramNotFound: '没有这个程序。',
    NotExecutable: '无法执行。',
    NoWorkingDirectory: '无法进入该目录。',
    UnknownSession: '没有这个会话。',
    BadArgument: '该参数无法传递。',
    SessionRuns: '会话仍在运行。',
    SessionEnded: '会话已结束。',
    Busy: '机器太忙，请稍后再试。',
    Stopping: '那台机器的 towline 正在停止。',
    Internal: '那台机器的 towline 发生内部错误，详见其日志。',
    Http429: '尝试次数过多，请一分钟后再试。',
    other: '机器拒绝了请求（{name}）。',
    about: '{path}：{text}',
  },
);

const NAMES: Record<number, Parameters<typeof t>[0]> = {
  1: 'Malformed', 2: 'TooLong', 3: 'UnknownVerb', 5: 'OutOfOrder', 10: 'UnknownKey', 11: 'ExpiredKey', 12: 'RemovedKey', 13: 'NoRight', 14: 'OutsideRoot',
  20: 'NoInvitation', 21: 'WrongCode', 22: 'UsedCode', 23: 'ExpiredCode', 24: 'SpentCode', 30: 'NotFound', 31: 'NotADirectory', 32: 'IsADirectory', 33: 'Exists',
  34: 'PermissionDenied', 35: 'ReadOnly', 36: 'NoSpace', 37: 'BadName', 38: 'SpecialFile', 39: 'Changed', 40: 'Io', 41: 'Corrupt', 42: 'LinkLoop', 43: 'NotEmpty',
  44: 'TooDeep', 45: 'OtherFileSystem', 46: 'IntoItself', 50: 'ProgramNotFound', 51: 'NotExecutable', 52: 'NoWorkingDirectory', 53: 'UnknownSession',
  54: 'BadArgument', 55: 'SessionRuns', 56: 'SessionEnded', 60: 'Busy', 61: 'Stopping', 62: 'Internal',
};

/** A refusal by its number, in the language of the page. */
export function refusalWords(code: number): string {
  const name = NAMES[code];
  return name === undefined ? t('other', { name: code }) : t(name);
}

/** Whatever was thrown, in the language of the page, with the path that it is about. */
export function errorWords(error: unknown): string {
  if (!(error instanceof ApiError)) return error instanceof Error ? error.message : String(error);
  let text: string;
  if (error.code in NAMES) text = refusalWords(error.code);
  else if (error.status === 0) text = t('Offline');
  else if (error.status === 429) text = t('Http429');
  else text = t('other', { name: error.message });
  return error.path === null ? text : t('about', { path: display(error.path), text });
}
