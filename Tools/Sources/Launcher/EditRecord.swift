import Foundation

/// What a debug build has done, so that the next one need do only what an edit asks for: the
/// commands that compile the package's own modules and link the image, and everything that they
/// depend on.
///
/// Whatever is not plainly an edit of the package's own Swift sources is SwiftPM's to build.
struct EditRecord: Codable {
    /// One of the package's own modules.
    struct Module: Codable {
        var name: String
        /// Its Swift sources, as they were when it was compiled last; none before.
        var sources: [String: FileStamp?]
        /// The compiler and its words.
        var command: [String]
        /// The package's own modules that it needs, directly or not.
        var needs: [String]
    }

    /// What wrote this: the options of the tools, and this program's own way with them.
    var origin: Data
    /// The toolchain's `lib/swift`.
    var resources: String
    /// Files that are no source of the package's own modules; nil for one that is not there.
    var fixed: [String: FileStamp?]
    /// Folders of sources, and what is in them.
    var folders: [String: [String]]
    /// In the order in which they are compiled.
    var modules: [Module]
    /// The linker and its words.
    var link: [String]
    /// Whether that was done with all that is compiled now.
    var isLinked = false

    /// A record is of no use to a program that would build in another way.
    static func origin(resources: String) throws -> Data {
        // Another toro may have other commands in mind.
        let own = FileStamp("/proc/self/exe")?.changed ?? 0
        return try Data("toro edit record 2 of \(own)\n".utf8)
            + ToolsetOptions(.debug, resources: resources).json(home: "")
    }

    /// The record in the file at `path`, if nothing has changed since but the package's own sources.
    init?(current path: String) {
        guard let data = FileManager.default.contents(atPath: path),
            let record = try? JSONDecoder().decode(EditRecord.self, from: data),
            record.isCurrent
        else { return nil }
        self = record
    }

    private var isCurrent: Bool {
        origin == (try? EditRecord.origin(resources: resources))
            && fixed.allSatisfy { FileStamp($0.key) == $0.value }
            && folders.allSatisfy { FolderListing.names(below: $0.key) == $0.value }
    }

    /// Writes it to the file at `path`.
    func write(to path: String) {
        // Without a record the next build is SwiftPM's, which is slower and as good.
        guard let data = try? JSONEncoder().encode(self),
            (try? data.write(to: URL(fileURLWithPath: path), options: .atomic)) != nil
        else {
            try? FileManager.default.removeItem(atPath: path)
            return
        }
    }
}

extension EditRecord {
    /// Compiles the modules that have changed, and those that need them, and links `output`, the image
    /// with its symbols. Each module that was compiled is known as that, also if a later one cannot be.
    mutating func build(_ output: String) throws(LaunchError) {
        var compiled: Set<String> = []
        for index in modules.indices {
            let module = modules[index]
            let stamps = Dictionary(
                uniqueKeysWithValues: module.sources.keys.map { ($0, FileStamp($0)) })
            if stamps == module.sources, compiled.isDisjoint(with: module.needs) { continue }
            // Until it is whole again it is nobody's.
            modules[index].sources = module.sources.mapValues { _ in nil }
            for other in modules.indices where modules[other].needs.contains(module.name) {
                modules[other].sources = modules[other].sources.mapValues { _ in nil }
            }
            try EditRecord.run(module.command, "the build of \(module.name) failed:\n")
            modules[index].sources = stamps
            compiled.insert(module.name)
        }
        if compiled.isEmpty, isLinked, FileStamp(output) != nil { return }
        isLinked = false
        try EditRecord.run(link, "linking failed:\n")
        isLinked = true
    }

    private static func run(_ words: [String], _ failure: String) throws(LaunchError) {
        let ended = try Command.capture(words[0], Array(words.dropFirst()))
        guard ended.status == 0 else { throw LaunchError(failure + ended.output) }
    }
}
