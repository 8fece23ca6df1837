/**
 * The tree-sitter grammar of `.lb` files. Productions have the names of grammar/lb.ebnf.
 *
 * src/parser.c is made by `tree-sitter generate`.
 */

/// <reference types="tree-sitter-cli/dsl" />

module.exports = grammar({
  name: 'lb',

  // Line breaks mean something: they stand in the rules.
  extras: $ => [/[ \t\r\uFEFF]/, $.comment],

  rules: {
    file: $ => seq(optional($._statement), repeat(seq($._end, optional($._statement)))),

    _end: _ => choice(';', '\n'),
    _breaks: _ => repeat1('\n'),
    _comma: $ => seq(',', optional($._breaks)),
    _equals: $ => seq('=', optional($._breaks)),
    _arrow: $ => seq(optional($._breaks), '->', optional($._breaks)),

    _statement: $ => choice($.include, $.host, $.net, $.pool, $.default, $.balance),

    include: $ => seq('include', field('path', $.string)),
    host: $ => seq('host', field('name', $.name), $._equals, list($, $._address)),
    net: $ => seq('net', field('name', $.name), $._equals, list($, $._net_item)),
    pool: $ => seq('pool', field('name', $.name), $._equals, $.backends),
    default: $ => seq('default', repeat1($._option)),
    balance: $ => seq(
      'balance',
      field('protocol', list($, $.protocol)),
      field('listen', $.listen),
      repeat($._option),
      $._arrow,
      $.backends,
    ),

    protocol: _ => choice('tcp', 'udp', 'sctp'),
    listen: $ => seq(optional(seq($._destination, ':')), list($, $.ports)),
    _destination: $ => choice('*', 'local', $.name, $.ipv4, $.bracketed, $.destinations),
    destinations: $ => braced($, choice('local', $.name, $.ipv4, $.bracketed, $.ipv6)),

    _option: $ => choice(
      $.as, $.by, $.sticky, $.from, $.on, $.masquerade, $.snat, $.output, $.accept, $.limit, $.max_connections,
      $.counter, $.log,
    ),
    as: $ => seq('as', field('name', $.name)),
    by: $ => seq('by', choice('random', 'round-robin', $.source_hash)),
    source_hash: $ => prec.right(seq('source-hash', repeat(choice(seq('seed', $.number), seq('buckets', $.number))))),
    sticky: $ => seq('sticky', $.duration),
    from: $ => seq('from', optional('not'), choice(list($, $._net_item), braced($, $._net_item)), optional($.else)),
    on: $ => seq('on', optional('not'), choice(list($, $._interface), braced($, $._interface))),
    masquerade: _ => seq('masquerade', optional('hairpin')),
    snat: $ => seq('snat', list($, $._address)),
    output: _ => 'output',
    accept: _ => 'accept',
    limit: $ => seq(
      'limit', $.number, '/', choice('second', 'minute', 'hour'),
      optional(seq('burst', $.number)), optional($.per_source), optional($.else),
    ),
    max_connections: $ => seq('max-connections', $.number, optional($.per_source), optional($.else)),
    per_source: _ => seq('per', 'source'),
    else: _ => seq('else', choice('drop', 'reject')),
    counter: _ => 'counter',
    log: $ => seq('log', optional($.string)),

    backends: $ => choice($._inline, $._block),
    _inline: $ => list($, $.backend),
    _block: $ => seq(
      '{', optional($._breaks),
      $.backend, repeat(seq($._separator, $.backend)),
      optional(','), optional($._breaks), '}',
    ),
    _separator: $ => choice($._comma, $._breaks),
    backend: $ => seq(
      choice(seq($._server, optional(seq(':', $.ports))), seq(':', $.ports)),
      repeat($._attribute),
    ),
    _server: $ => choice($.name, $.ipv4, $.bracketed),
    _attribute: $ => choice($.weight, $.backup),
    weight: $ => seq('weight', $.number),
    backup: _ => 'backup',

    _address: $ => choice($.ipv4, $.ipv6),
    _net_item: $ => choice($.name, $.ipv4, $.ipv6),
    bracketed: $ => seq('[', $.ipv6, ']', optional($.prefix_length)),
    prefix_length: _ => token.immediate(/\/[0-9]+/),

    _interface: $ => choice($.interface, $.string),
    interface: _ => token(prec(-1, /([^\s,;{}#"\/\-]|-+[^\s,;{}#"\/\->])+/)),

    name: _ => /[A-Za-z_][A-Za-z0-9_]*(-+[A-Za-z0-9_]+)*/,
    // With the prefix length, where one is written.
    ipv4: _ => /[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+(\/[0-9]+)?/,
    ipv6: _ => /[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(\/[0-9]+)?/,
    ports: _ => /[0-9]+(-[0-9]+)?/,
    number: _ => /[0-9]+/,
    duration: _ => /([0-9]+(ms|s|m|h|d))+/,
    string: _ => /"[^"\r\n]*"/,
    comment: _ => /#[^\n]*/,
  },
});

/** Elements with commas between them. */
function list($, element) {
  return seq(element, repeat(seq($._comma, element)));
}

/** A list in braces: line breaks are blanks, and a comma may stand at the end. */
function braced($, element) {
  return seq(
    '{', optional($._breaks),
    element, optional($._breaks),
    repeat(seq($._comma, element, optional($._breaks))),
    optional($._comma), '}',
  );
}
