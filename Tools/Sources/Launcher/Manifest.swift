import Foundation

/// What a package says about its image, in a file `toro.json` beside its Package.swift: what the
/// image needs, and what it is for. All of it may be left out.
///
///     {
///       "product": "StaticWebServerVM",
///       "memory": "16M",
///       "shares": [ { "tag": "site", "purpose": "the files to serve", "folder": "site" } ],
///       "ports": [ { "guest": 80, "host": 8080, "scheme": "http", "purpose": "the web server" } ]
///     }
public struct Manifest: Codable, Equatable, Sendable {
    /// A folder that the service looks for.
    public struct NeededShare: Codable, Equatable, Sendable {
        /// The name it asks for.
        public var tag: String
        /// What it is for, for the person who has to choose a folder.
        public var purpose: String?
        /// The folder of the package that serves when no other is named. Never part of an image:
        /// an image does not decide which folder of a host it gets.
        public var folder: String?
    }

    /// A port that the service listens on.
    public struct NeededPort: Codable, Equatable, Sendable {
        /// The guest's vsock port.
        public var guest: UInt32
        /// The host's TCP port unless another is named; any free one if there is none.
        public var host: UInt16?
        /// What a URL begins with.
        public var scheme: String?
        /// What it is for.
        public var purpose: String?
    }

    /// The executable product that is the image; the package folder's name if there is none.
    public var product: String?
    /// RAM, as `--memory` takes it.
    public var memory: String?
    /// The folders it looks for.
    public var shares: [NeededShare]?
    /// The ports it listens on.
    public var ports: [NeededPort]?

    /// A manifest that says nothing.
    public init() {}

    /// The manifest of the package in `folder`; an empty one if there is no `toro.json`.
    public init(package folder: String) throws(LaunchError) {
        guard let data = FileManager.default.contents(atPath: folder + "/toro.json") else {
            self.init()
            return
        }
        try self.init(data, name: folder + "/toro.json")
    }

    /// Reads a manifest's text; `name` is what messages call it.
    public init(_ text: Data, name: String) throws(LaunchError) {
        do {
            self = try JSONDecoder().decode(Manifest.self, from: text)
        } catch DecodingError.dataCorrupted {
            throw .usage("\(name) is no JSON")
        } catch DecodingError.keyNotFound(let key, _) {
            throw .usage("\(name) lacks \"\(key.stringValue)\" in one of its entries")
        } catch DecodingError.typeMismatch(_, let context) {
            let path = context.codingPath.map { $0.intValue.map(String.init) ?? $0.stringValue }
            throw .usage("\(name): \(path.joined(separator: ".")) has the wrong type")
        } catch {
            throw .usage("\(name) is no manifest: \(error.localizedDescription)")
        }
        for share in shares ?? [] {
            guard (1...36).contains(share.tag.utf8.count) else {
                throw .usage("\(name): the tag \"\(share.tag)\" is not 1 to 36 bytes long")
            }
        }
        if let memory { _ = try MemorySize(parsing: memory) }
    }

    /// What goes into the image: everything but the package's own folders. The same manifest gives
    /// the same bytes.
    public var embedded: Data {
        var copy = self
        copy.product = nil
        copy.shares = shares.map { $0.map { NeededShare(tag: $0.tag, purpose: $0.purpose) } }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(copy)) ?? Data()
    }
}

/// An amount of RAM in QEMU's spelling: a number of MiB, or with K, M or G behind it.
public struct MemorySize: Equatable, Sendable, CustomStringConvertible {
    /// The bytes.
    public let bytes: UInt64
    /// The spelling.
    public let description: String

    /// Parses 32, 32M, 2G; from 2 MiB to 1 TiB.
    public init(parsing text: String) throws(LaunchError) {
        let units: [Character: UInt64] = [
            "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30,
        ]
        let unit = text.last.flatMap { units[$0] }
        let digits = unit == nil ? text : String(text.dropLast())
        guard digits.first != "+", let number = UInt64(digits), number > 0,
            case let (bytes, overflow) = number.multipliedReportingOverflow(by: unit ?? 1 << 20),
            !overflow, bytes >= 2 << 20, bytes <= 1 << 40, bytes % 4096 == 0
        else { throw .usage("memory is an amount from 2M to 1024G such as 32M, not \(text)") }
        self.bytes = bytes
        description = unit == nil ? text + "M" : text.uppercased()
    }
}
