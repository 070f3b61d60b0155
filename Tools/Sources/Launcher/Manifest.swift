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
        let path = folder + "/toro.json"
        let text: Data
        do throws(HostFile.Failure) {
            text = try HostFile.contents(path)
        } catch {
            if let interruption = error.interruption(path) { throw interruption }
            guard error.code == ENOENT, try HostFile.kind(path, follows: false) != S_IFLNK else {
                throw .usage("cannot read \(path): \(error.reason)")
            }
            self.init()
            return
        }
        try self.init(text, name: path)
    }

    /// Reads a manifest's text; `name` is what messages call it. All that is wrong is said at once.
    public init(_ text: Data, name: String) throws(LaunchError) {
        do {
            let slips = ManifestCheck(
                try JSONDecoder().decode(ManifestCheck.Value.self, from: text)
            )
            .slips
            guard slips.isEmpty else {
                let more = slips.count > 20 ? ["and \(slips.count - 20) more"] : []
                throw LaunchError.usage(
                    (["\(name) is wrong:"] + slips.prefix(20) + more).joined(separator: "\n  "))
            }
            self = try JSONDecoder().decode(Manifest.self, from: text)
        } catch let error as LaunchError {
            throw error
        } catch DecodingError.dataCorrupted {
            throw .usage("\(name) is no JSON" + Manifest.place(of: text))
        } catch {
            throw .usage("\(name) is no manifest: \(error.localizedDescription)")
        }
    }

    /// Where a text ceases to be JSON, as far as Foundation tells.
    private static func place(of text: Data) -> String {
        do {
            _ = try JSONSerialization.jsonObject(with: text)
            return ""
        } catch {
            let words = (error as NSError).userInfo["NSDebugDescription"] as? String ?? ""
            guard
                let offset = words.split(whereSeparator: { !$0.isNumber }).last.flatMap({ Int($0) })
            else { return words.isEmpty ? "" : ": \(words)" }
            return ": look at line \(text.prefix(offset).count { $0 == UInt8(ascii: "\n") } + 1)"
        }
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
