import Foundation

/// A package for a new service: Toro's `Samples/Template` under other names.
public struct NewPackage {
    /// The service's module, and what the others' names begin with.
    public let module: String
    /// The folder that is made.
    public let folder: String

    /// Names that mean something else in the template's sources, in the language or in what it ships
    /// with: a service called so would hide that, or the other way round.
    private static let taken: Set = [
        "Any", "Appliance", "Array", "Builtin", "Core", "Dispatch", "FileError", "FileSystem",
        "Foundation", "Glibc", "Host", "HTTPAnswer", "HTTPAnswerReader", "HTTPError", "HTTPRequest",
        "HTTPResponse", "HTTPServer", "HTTPServerError", "HostProgram", "InMemoryFileSystem",
        "InMemoryListener", "Listener", "MemoryTree", "MicroVM", "MicroVMAppliance", "Microservice",
        "Port", "Program", "Protocol", "Self", "String", "Suite", "Swift", "Synchronization",
        "Task", "Test", "Testing", "Texts", "Timekeeper", "Type", "UInt8", "UTF8", "VirtualClock",
        "WiringError", "XCTest",
    ]

    /// A package in `folder`, which must not be there yet. The module is called as the folder is,
    /// with a capital letter at the beginning of each word: `web-shop` becomes `WebShop`.
    public init(folder: String) throws(LaunchError) {
        let name = (folder as NSString).lastPathComponent
        let words = name.split { "-_. ".contains($0) }
        module = words.map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined()
        let isName = module.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber) }
        guard isName, module.first?.isLetter == true else {
            throw .usage(
                "no Swift module can be called \(name): take letters and digits, a letter first")
        }
        guard !NewPackage.taken.contains(module), !module.hasPrefix("Toro") else {
            throw .usage("\(module) is taken in Swift or Toro: choose another name")
        }
        guard !FileManager.default.fileExists(atPath: folder) else {
            throw .usage("\(folder) is there already")
        }
        self.folder = folder
    }

    /// Makes it; it depends on the Toro in folder `root` by path. `url` is where else that is.
    public func make(root: String, url: String?) throws(LaunchError) {
        let files = FileManager.default
        let template = root + "/Samples/Template"
        var isMade = false
        do {
            let parent = (folder as NSString).deletingLastPathComponent
            if !files.fileExists(atPath: parent) {
                try files.createDirectory(atPath: parent, withIntermediateDirectories: true)
            }
            try files.createDirectory(atPath: folder, withIntermediateDirectories: false)
            isMade = true
            // With the rights of new files, whatever those of the template are.
            for path in try files.subpathsOfDirectory(atPath: template).sorted()
            where !path.split(separator: "/").contains(where: { $0.hasPrefix(".") })
                && path != "Package.resolved"
            {
                guard let bytes = files.contents(atPath: template + "/" + path) else { continue }
                let target = folder + "/" + path.replacingOccurrences(of: "Greeter", with: module)
                try files.createDirectory(
                    atPath: (target as NSString).deletingLastPathComponent,
                    withIntermediateDirectories: true)
                try Data(renamed(String(decoding: bytes, as: UTF8.self), root, url).utf8)
                    .write(to: URL(fileURLWithPath: target))
            }
            try Data(".build/\n".utf8).write(to: URL(fileURLWithPath: folder + "/.gitignore"))
        } catch {
            // Half a package is in the way of the next attempt.
            if isMade { try? files.removeItem(atPath: folder) }
            throw LaunchError("cannot make \(folder): \(reason(error))")
        }
        if let git = Command.find("git") {
            let ended = try Command.capture(git, ["-C", folder, "init", "-q"])
            guard ended.status == 0 else { throw LaunchError("git init failed: " + ended.output) }
        }
    }

    private func renamed(_ text: String, _ root: String, _ url: String?) -> String {
        var text = text.replacingOccurrences(of: "Greeter", with: module)
            .replacingOccurrences(of: "\"Template\"", with: "\"\(module)\"")
            .replacingOccurrences(of: "# A template", with: "# \(module)")
        let quoted = root.replacingOccurrences(of: "\\", with: "\\\\")
            .replacingOccurrences(of: "\"", with: "\\\"")
        text = text.replacingOccurrences(
            of: "dependencies: [.package(name: \"toro\", path: \"../..\")],",
            with: """
                dependencies: [
                        .package(name: "toro", path: "\(quoted)")
                        // .package(url: "\(url ?? "https://HOST/toro.git")", exact: "VERSION")
                    ],
                """)
        // What the template says about being copied is done.
        let notes = [
            """
            // A starting point to copy. Change the path of the dependency to where Toro is, or to \
            its URL and
            // version, and the names to yours.

            """,
            "\nAfter copying it, change the `path:` of the dependency in Package.swift to where Toro is.\n",
            ", made to be copied",
        ]
        for note in notes { text = text.replacingOccurrences(of: note, with: "") }
        return text
    }
}
