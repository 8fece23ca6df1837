// Hands the parser in grammar/tree-sitter-lb/src/parser.c to the `tree-sitter` package of Node.
#include <node_api.h>

typedef struct TSLanguage TSLanguage;
const TSLanguage *tree_sitter_lb(void);

// What the package asks of an external value before it takes it for a language.
static const napi_type_tag LANGUAGE = { 0x8AF2E5212AD58ABF, 0xD5006CAD83ABBA16 };

NAPI_MODULE_INIT() {
    napi_value language;
    napi_create_external(env, (void *)tree_sitter_lb(), NULL, NULL, &language);
    napi_type_tag_object(env, language, &LANGUAGE);
    napi_set_named_property(env, exports, "language", language);
    return exports;
}
