" Vim syntax file of `.lb` files, the language of lbc. To be put into ~/.vim/syntax/lb.vim, with
"   autocmd BufRead,BufNewFile *.lb setfiletype lb
" in ~/.vim/ftdetect/lb.vim.

if exists('b:current_syntax')
  finish
endif

syntax case match

" What is defined further down goes before what is defined above.
syntax match lbName /[A-Za-z_][A-Za-z0-9_]*\%(-\+[A-Za-z0-9_]\+\)*/
syntax match lbOperator /->\|=/
syntax match lbNumber /\d\+/
syntax match lbNumber /\%(\d\+\%(ms\|[smhd]\)\)\+[A-Za-z0-9_]\@!/
syntax match lbAddress /\d\+\.\d\+\.\d\+\.\d\+\%(\/\d\+\)\?/
syntax match lbAddress /[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\%(\/\d\+\)\?/

syntax match lbStatement /[A-Za-z0-9_-]\@1<!\%(balance\|default\|host\|include\|net\|pool\)\%([A-Za-z0-9_]\|-\+[A-Za-z0-9_]\)\@!/
syntax match lbProtocol /[A-Za-z0-9_-]\@1<!\%(sctp\|tcp\|udp\)\%([A-Za-z0-9_]\|-\+[A-Za-z0-9_]\)\@!/
syntax match lbOption /[A-Za-z0-9_-]\@1<!\%(accept\|as\|by\|counter\|from\|limit\|log\|masquerade\|max-connections\|on\|output\|snat\|sticky\)\%([A-Za-z0-9_]\|-\+[A-Za-z0-9_]\)\@!/
syntax match lbAttribute /[A-Za-z0-9_-]\@1<!\%(backup\|weight\)\%([A-Za-z0-9_]\|-\+[A-Za-z0-9_]\)\@!/
syntax match lbKeyword /[A-Za-z0-9_-]\@1<!\%(buckets\|burst\|drop\|else\|hairpin\|hour\|local\|minute\|not\|per\|random\|reject\|round-robin\|second\|seed\|source-hash\|source\)\%([A-Za-z0-9_]\|-\+[A-Za-z0-9_]\)\@!/

syntax match lbString /"[^"]*"/
syntax match lbComment /#.*$/ contains=lbSuppression,@Spell
syntax match lbSuppression /\<lbc:\s*ignore\%(-file\)\?\s*\[[^\]]*\]/ contained

highlight default link lbName Identifier
highlight default link lbOperator Operator
highlight default link lbNumber Number
highlight default link lbAddress Constant
highlight default link lbStatement Statement
highlight default link lbProtocol Type
highlight default link lbOption Keyword
highlight default link lbAttribute Keyword
highlight default link lbKeyword Keyword
highlight default link lbString String
highlight default link lbComment Comment
highlight default link lbSuppression SpecialComment

let b:current_syntax = 'lb'
