// Before the first paint: the reader's own choice of light or dark, and the language of the document.
document.documentElement.dataset.theme = localStorage.getItem('theme') ?? 'auto'
document.documentElement.lang =
    localStorage.getItem('language') ?? (navigator.language.startsWith('sv') ? 'sv' : 'en')
