import prettier from 'eslint-config-prettier'
import vue from 'eslint-plugin-vue'
import accessibility from 'eslint-plugin-vuejs-accessibility'
import ts from 'typescript-eslint'

export default ts.config(
    { ignores: ['src/api/schema.ts', 'node_modules'] },
    ...ts.configs.strictTypeChecked,
    ...vue.configs['flat/recommended'],
    ...accessibility.configs['flat/recommended'],
    {
        languageOptions: {
            parserOptions: {
                parser: ts.parser,
                project: './tsconfig.json',
                extraFileExtensions: ['.vue'],
            },
        },
        rules: {
            'max-lines': ['error', { max: 250, skipBlankLines: true, skipComments: true }],
            complexity: ['error', 10],
            '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
            // A label that wraps its control or names it is enough; the rule's default wants both.
            'vuejs-accessibility/label-has-for': ['error', { required: { some: ['nesting', 'id'] } }],
            '@typescript-eslint/unbound-method': 'off', // what composables return is made to be taken apart
            'vue/require-default-prop': 'off', // a property left out is undefined, as its type says
            'vue/block-order': ['error', { order: ['script', 'template', 'style'] }],
            'vue/no-v-html': 'error', // essays and file names are other people's text
            'vue/no-undef-components': ['error', { ignorePatterns: ['RouterLink', 'RouterView'] }],
            'vue/multi-word-component-names': 'off',
        },
    },
    { files: ['*.js', 'public/*.js'], ...ts.configs.disableTypeChecked },
    prettier,
)
