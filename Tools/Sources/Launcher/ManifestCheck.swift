import Foundation

/// Looks for all that is wrong with a manifest's text at once.
struct ManifestCheck {
    /// What JSON may say.
    enum Value: Decodable {
        case nothing
        case truth(Bool)
        case number(Double)
        case text(String)
        case list([Value])
        case object([String: Value])

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if container.decodeNil() {
                self = .nothing
            } else if let value = try? container.decode(Bool.self) {
                self = .truth(value)
            } else if let value = try? container.decode(Double.self) {
                self = .number(value)
            } else if let value = try? container.decode(String.self) {
                self = .text(value)
            } else if let value = try? container.decode([Value].self) {
                self = .list(value)
            } else {
                self = .object(try container.decode([String: Value].self))
            }
        }

        /// As a message names it.
        var words: String {
            switch self {
            case .nothing: "null"
            case .truth(let value): "\(value)"
            case .number(let value): Int64(exactly: value).map { "\($0)" } ?? "\(value)"
            case .text(let text): "\"\(text.prefix(40))\(text.count > 40 ? "…" : "")\""
            case .list: "a list"
            case .object: "an object"
            }
        }
    }

    /// What may stand behind a key.
    indirect enum Kind: Sendable {
        /// Text that can be a C string.
        case text(example: String)
        /// A whole number.
        case number(ClosedRange<Int64>)
        /// Objects that have these keys; an entry's first one has to be there, and is its own.
        case entries([Key])
    }

    /// A key, and what may stand behind it.
    struct Key: Sendable {
        var name: String
        var kind: Kind
    }

    private static let keys: [Key] = [
        Key(name: "product", kind: .text(example: "WebServerVM")),
        Key(name: "memory", kind: .text(example: "16M")),
        Key(
            name: "shares",
            kind: .entries([
                Key(name: "tag", kind: .text(example: "site")),
                Key(name: "purpose", kind: .text(example: "the files to serve")),
                Key(name: "folder", kind: .text(example: "site")),
            ])),
        Key(
            name: "ports",
            kind: .entries([
                // The highest number stands for any port (VMADDR_PORT_ANY).
                Key(name: "guest", kind: .number(0...Int64(UInt32.max) - 1)),
                Key(name: "host", kind: .number(0...65535)),
                Key(name: "scheme", kind: .text(example: "http")),
                Key(name: "purpose", kind: .text(example: "the web server")),
            ])),
    ]

    /// What is wrong, with its place.
    private(set) var slips: [String] = []

    init(_ value: Value) {
        guard case .object(let object) = value else {
            slips = ["there must be an object, { … }, and not \(value.words)"]
            return
        }
        check(object, ManifestCheck.keys, at: "")
    }

    private mutating func check(_ object: [String: Value], _ keys: [Key], at place: String) {
        for name in object.keys.sorted() where !keys.contains(where: { $0.name == name }) {
            let near = keys.map(\.name).filter { ManifestCheck.isNear($0, name) }
            let names = keys.map(\.name).joined(separator: ", ")
            slips.append(
                "\(place)\(name) is no key"
                    + (near.first.map { ": did you mean \($0)?" } ?? ", as \(names) are"))
        }
        for key in keys {
            guard let value = object[key.name] else { continue }
            if case .nothing = value { continue }
            check(value, key, at: place + key.name)
        }
    }

    private mutating func check(_ value: Value, _ key: Key, at place: String) {
        switch (key.kind, value) {
        case (.text, .text(let text)) where !text.isEmpty && !text.utf8.contains(0):
            if key.name == "memory" { checkMemory(text, at: place) }
            if key.name == "tag", text.utf8.count > 36 {
                slips.append("\(place) has at most 36 bytes, and \(value.words) is longer")
            }
        case (.text(let example), _):
            slips.append("\(place) must be text such as \"\(example)\", not \(value.words)")
        case (.number(let range), .number(let number))
        where Int64(exactly: number).map(range.contains) ?? false:
            break
        case (.number(let range), _):
            slips.append(
                "\(place) must be a number from \(range.lowerBound) to \(range.upperBound), not "
                    + value.words)
        case (.entries(let keys), .list(let entries)): check(entries, keys, at: place)
        case (.entries, _):
            slips.append("\(place) must be a list, [ … ], and not \(value.words)")
        }
    }

    private mutating func check(_ entries: [Value], _ keys: [Key], at place: String) {
        var known: Set<String> = []
        for (index, entry) in entries.enumerated() {
            let place = "\(place)[\(index)]"
            guard case .object(let object) = entry else {
                slips.append("\(place) must be an object, { … }, and not \(entry.words)")
                continue
            }
            check(object, keys, at: place + ".")
            let name = keys[0].name
            switch object[name] {
            case nil, .nothing: slips.append("\(place) lacks \(name)")
            case let value?:
                if !known.insert(value.words).inserted {
                    slips.append("\(place).\(name) is \(value.words), as another entry's is")
                }
            }
        }
    }

    private mutating func checkMemory(_ text: String, at place: String) {
        do throws(LaunchError) {
            _ = try MemorySize(parsing: text)
        } catch {
            slips.append("\(place): \(error.description)")
        }
    }

    /// Whether one may be the other misspelt: two letters more, less, other or exchanged at most, but
    /// not half of it.
    static func isNear(_ one: String, _ other: String) -> Bool {
        let (one, other) = (Array(one.lowercased()), Array(other.lowercased()))
        guard abs(one.count - other.count) <= 2 else { return false }
        // The distance of all beginnings, row by row (optimal string alignment).
        var rows = [Array(0...other.count)]
        for (i, letter) in one.enumerated() {
            var row = [i + 1]
            for (j, otherLetter) in other.enumerated() {
                var least = min(
                    row[j] + 1, rows[i][j + 1] + 1, rows[i][j] + (letter == otherLetter ? 0 : 1))
                if i > 0, j > 0, letter == other[j - 1], one[i - 1] == otherLetter {
                    least = min(least, rows[i - 1][j - 1] + 1)
                }
                row.append(least)
            }
            rows.append(row)
        }
        let distance = rows[one.count][other.count]
        return distance <= 2 && 2 * distance <= max(one.count, other.count)
    }
}
