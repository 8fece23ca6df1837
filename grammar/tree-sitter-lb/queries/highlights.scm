; What each part of a `.lb` file is, for editors.

(comment) @comment
(string) @string
[(number) (ports) (duration) (prefix_length)] @number
[(ipv4) (ipv6)] @constant
(interface) @variable.parameter
(name) @variable

["balance" "default" "host" "include" "net" "pool"] @keyword
(protocol) @type
["as" "by" "from" "limit" "log" "masquerade" "max-connections" "on" "snat" "sticky"] @keyword
[(accept) (counter) (output)] @keyword
["weight"] @keyword
(backup) @keyword
[
  "buckets" "burst" "drop" "else" "hairpin" "hour" "local" "minute" "not" "per" "random" "reject" "round-robin"
  "second" "seed" "source" "source-hash"
] @keyword

["->" "="] @operator
["," ";" ":" "/"] @punctuation.delimiter
["{" "}" "[" "]"] @punctuation.bracket
"*" @constant.builtin
