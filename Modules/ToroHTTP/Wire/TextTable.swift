/// A table in one constant text: lines of keys and a value, a space behind each key.
///
/// One loop over one text takes a fraction of the code of a `switch` with as many cases.
struct TextTable {
    private let text: StaticString

    /// The table in `text`, whose lines end with a line feed.
    init(_ text: StaticString) { self.text = text }

    /// Adds the value in the first line that has the key `key(0)`, `key(1)` … up to `count`, or in
    /// the last line if there is none, to `writer`. O(length of the table).
    func append(_ count: Int, _ key: (Int) -> UInt8, to writer: ByteWriter) {
        var place = 0
        var end = 0
        while end < text.byteCount {
            place = end
            end = lineEnd(place)
            if let value = value(place, end, count, key) {
                place = value
                break
            }
        }
        if place < end { writer.append(text, place..<end - 1) }
    }

    private func lineEnd(_ start: Int) -> Int {
        var end = start
        while text.byte(end) != ASCII.lineFeed { end += 1 }
        return end + 1
    }

    /// Where the value of a line begins, if the line has the key.
    private func value(_ start: Int, _ end: Int, _ count: Int, _ key: (Int) -> UInt8) -> Int? {
        guard end - start > count, text.byte(start + count) == ASCII.space else { return nil }
        for index in 0..<count where text.byte(start + index) != key(index) { return nil }
        return start + count + 1
    }
}
