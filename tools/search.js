// What the search box of the site finds, in place of Fuse, which looks for a query as one string: entries that have the
// words, wherever and in any order. Titles count most, then headings; the first page, tutorials and how-tos come before chapters, text
// before functions; an entry that lacks a word stands behind those that have all.
window.Fuse = class {
  constructor(index) {
    const plain = text => (text || "").toLowerCase()
    this.entries = index.map(item => ({ item, title: plain(item.title), section: plain(item.section), text: plain(item.text) }))
  }

  static words(query) {
    const found = query.toLowerCase().match(/[\p{L}\p{N}]+/gu) || []
    return [...new Set(found.map(word => word.length > 3 ? word.replace(/s$/, "") : word))] // rates: rate, curves: curve
  }

  static weight({ title, section, text }, word) {
    const starts = place => new RegExp("(^|[^\\p{L}\\p{N}])" + word, "u").test(place)
    if (starts(title)) return 10
    if (starts(section)) return 9
    if (starts(text)) return 3
    return [title, section, text].some(place => place.includes(word)) ? 1 : 0
  }

  static score(entry, words) {
    const weights = words.map(word => Fuse.weight(entry, word)), there = weights.filter(Boolean).length
    if (2 * there < words.length || !there) return 0
    let sum = weights.reduce((a, b) => a + b, 0) - 8 * (words.length - there)
    if (entry.item.href.startsWith("index.html")) sum += 4
    if (entry.item.href.startsWith("tutorials/")) sum += 2
    if (!entry.section) sum += 1 // the page itself
    if (/^(def|class) /.test(entry.text)) sum -= 5
    return sum
  }

  search(query, { limit = 20 } = {}) {
    const words = Fuse.words(query)
    const scored = this.entries.map(({ item, ...places }) => ({ item, score: Fuse.score({ item, ...places }, words) }))
    return scored.filter(hit => hit.score > 0).sort((a, b) => b.score - a.score).slice(0, limit)
  }
}
