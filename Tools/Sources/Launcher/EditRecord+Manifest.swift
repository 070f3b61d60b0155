import Foundation

extension EditRecord {
    /// Where things are of a debug build that SwiftPM has just done.
    struct Place {
        /// The package's folder.
        var package: String
        /// The folder of SwiftPM's build.
        var scratch: String
        /// The product.
        var product: String
        /// The file that is linked.
        var output: String
        /// The Swift SDK.
        var sdk: GuestSDK
        /// The folder of Toro.
        var root: String
    }

    /// Records the build in `place`; nil if it is none whose commands can be repeated.
    init?(_ place: Place) throws(LaunchError) {
        let folder = place.scratch + "/" + ToolsetOptions.triple + "/debug"
        guard let compiler = Command.find("swiftc").flatMap(realPath),
            let text = try? String(contentsOfFile: place.scratch + "/debug.yaml", encoding: .utf8),
            let manifest = BuildManifest(text), let origin = try? EditRecord.origin(place.sdk)
        else { return nil }
        self.origin = origin
        resources = place.sdk.resources
        let (commands, sources) = manifest.commands(for: folder + "/" + place.product)
        guard let last = commands.last else { return nil }
        let own = commands.compactMap { OwnModule($0.1, of: place) }
        let home = place.scratch + "/edit"
        try? FileManager.default.createDirectory(
            atPath: home + "/Modules", withIntermediateDirectories: true)

        modules = []
        for module in own {
            guard let command = try module.compile(into: home) else { return nil }
            let needs = modules.filter { other in
                module.inputs.contains { $0.hasSuffix("/\(other.name).swiftmodule") }
            }
            modules.append(
                Module(
                    name: module.name,
                    sources: Dictionary(uniqueKeysWithValues: module.sources.map { ($0, nil) }),
                    command: command, needs: Array(Set(needs.flatMap { [$0.name] + $0.needs }))))
        }
        guard let link = try EditRecord.link(last.1, own, place, home) else { return nil }
        self.link = link

        let ownSources = Set(own.flatMap(\.sources))
        var files = sources.subtracting(ownSources)
        files.formUnion(manifest.structure.filter { !$0.hasSuffix("/") })
        files.formUnion(
            EditRecord.dependencies(commands.flatMap(\.1.outputs)).subtracting(ownSources))
        files.formUnion([compiler, place.root + "/Platform/microvm/SDK/linker.ld", link[0]])
        files.formUnion([place.sdk.bundle + "/toro/toolset.json"])
        files = files.filter { !$0.hasPrefix("<") && !$0.hasSuffix("/") }

        folders = [:]
        for source in files.union(ownSources) {
            guard let (package, top) = EditRecord.package(of: source) else { continue }
            files.insert(package + "/Package.swift")
            // What is hidden is what tools have made.
            if !top.hasPrefix(".") { folders[package + "/" + top] = [] }
        }
        files = files.filter { !$0.hasPrefix(place.scratch + "/") }
        folders = folders.filter { !$0.key.hasPrefix(place.scratch + "/") }
        for folder in folders.keys { folders[folder] = FolderListing.names(below: folder) }
        fixed = [:]
        for file in files {
            fixed[file] = FileStamp(file)
        }
    }

    /// Whether it says all that the next build must know, if the build began at `began`.
    func isWhole(since began: Int64) -> Bool {
        // A file that came or went while SwiftPM built may be none of what it has planned.
        for folder in folders.keys.flatMap({ FolderListing.folders(from: $0) }) {
            if let stamp = FileStamp(folder), stamp.changed >= began { return false }
        }
        for (file, stamp) in fixed {
            // What has changed since SwiftPM began may have come too late for it.
            if let stamp, stamp.changed >= began { return false }
            // A manifest may say one thing today and another tomorrow.
            if file.hasSuffix("/Package.swift"),
                let text = try? String(contentsOfFile: file, encoding: .utf8),
                ["nvironment", "getenv", "Foundation", "libc"].contains(where: text.contains)
            {
                return false
            }
        }
        return true
    }

    private static func origin(_ sdk: GuestSDK) throws -> Data {
        try origin(resources: sdk.resources)
    }

    /// The package that a file belongs to, and the first folder or file on the way down to it.
    private static func package(of file: String) -> (folder: String, top: String)? {
        var folder = (file as NSString).deletingLastPathComponent
        var top = (file as NSString).lastPathComponent
        while folder.count > 1 {
            if FileManager.default.fileExists(atPath: folder + "/Package.swift") {
                return (folder, top)
            }
            top = (folder as NSString).lastPathComponent
            folder = (folder as NSString).deletingLastPathComponent
        }
        return nil
    }

    /// What the compilers have read: the files named in the `.d` files beside what they have made.
    private static func dependencies(_ outputs: [String]) -> Set<String> {
        var files: Set<String> = []
        for output in outputs where output.hasSuffix(".o") {
            let path = output.dropLast(2) + ".d"
            guard let text = try? String(contentsOfFile: String(path), encoding: .utf8) else {
                continue
            }
            let lines = text.replacingOccurrences(of: "\\\n", with: " ").split(separator: "\n")
            // The lists of a module's files are all the same.
            for line in lines.prefix(1) {
                guard let mark = line.range(of: " : ") ?? line.range(of: ": ") else { continue }
                files.formUnion(ShellWords.split(line[mark.upperBound...]) ?? [])
            }
        }
        return files
    }

    /// The linker's own command, with what is recorded in place of what SwiftPM has linked.
    private static func link(
        _ command: BuildManifest.Command, _ own: [OwnModule], _ place: Place, _ home: String
    ) throws(LaunchError) -> [String]? {
        var words = command.arguments
        guard let output = words.firstIndex(of: "-o"), output + 1 < words.count,
            let list = words.firstIndex(where: { $0.hasSuffix("/Objects.LinkFileList") }),
            let objects = try? String(
                contentsOfFile: String(words[list].dropFirst()), encoding: .utf8)
        else { return nil }
        // Modules are linked for a debugger that is not there.
        var lines = objects.split(separator: "\n").compactMap { ShellWords.split($0)?.first }
            .filter { object in
                !object.hasSuffix(".swiftmodule.o")
                    && !own.contains { object.contains("/\($0.name).build/") }
            }
        lines += own.map { "\(home)/\($0.name).o" }
        words[output + 1] = place.output
        let ownList = place.output + ".objects"
        words[list] = "@" + ownList
        // The driver says what it would call, and so does clang, if there is something to link.
        var isWritten = FileManager.default.createFile(
            atPath: ownList,
            contents: Data(lines.map { ShellWords.quoted($0) + "\n" }.joined().utf8))
        for object in own.map({ "\(home)/\($0.name).o" }) where FileStamp(object) == nil {
            isWritten = FileManager.default.createFile(atPath: object, contents: nil) && isWritten
        }
        guard isWritten else { return nil }
        guard var linker = try planned(words + ["-driver-print-jobs"])?.last,
            let built = try planned(command.arguments + ["-driver-print-jobs"])?.last
        else { return nil }
        // What objects ask to be linked with is beside the first of SwiftPM's, which may be one of
        // those that are left out.
        let isAutolink = { (word: String) in word.hasSuffix(".autolink") }
        if let place = linker.firstIndex(where: isAutolink) {
            guard let word = built.first(where: isAutolink) else { return nil }
            linker[place] = word
        }
        guard let last = try planned(linker + ["-###"])?.last, last.count > lines.count else {
            return nil
        }
        return last
    }

    /// The command lines that a driver prints instead of running them.
    fileprivate static func planned(_ words: [String]) throws(LaunchError) -> [[String]]? {
        let ended = try SwiftCommand(path: words[0]).capture(Array(words.dropFirst()))
        guard ended.status == 0 else { return nil }
        let lines = ended.output.split(separator: "\n").compactMap { ShellWords.split($0) }
            .filter { $0.first.map { FileManager.default.isExecutableFile(atPath: $0) } == true }
        return lines.isEmpty ? nil : lines
    }
}

/// One of the package's own modules, as SwiftPM compiles it.
private struct OwnModule {
    let name: String
    let sources: [String]
    let inputs: [String]
    private let arguments: [String]

    /// Nil if the command compiles something else.
    init?(_ command: BuildManifest.Command, of place: EditRecord.Place) {
        let words = command.arguments
        guard words.first?.hasSuffix("/swiftc") == true, words.contains("-emit-module"),
            let mark = words.firstIndex(of: "-module-name"), mark + 1 < words.count
        else { return nil }
        name = words[mark + 1]
        inputs = command.inputs
        arguments = words
        sources = inputs.filter { $0.hasSuffix(".swift") }
        let isOwn = sources.allSatisfy {
            $0.hasPrefix(place.package + "/") && !$0.hasPrefix(place.package + "/.build/")
        }
        guard isOwn, !sources.isEmpty else { return nil }
    }

    /// Words of SwiftPM's command that a compilation by itself does without, and how many go with
    /// each.
    private static let dropped = [
        "-emit-module": 0, "-emit-module-path": 1, "-output-file-map": 1, "-num-threads": 1,
        "-index-store-path": 1, "-emit-objc-header": 0, "-emit-objc-header-path": 1,
        "-emit-dependencies": 0, "-serialize-diagnostics": 0, "-parseable-output": 0,
        "-enable-testing": 0,
    ]

    /// The compiler's own command for the whole module, without optimization; nil if the driver
    /// would call more than that.
    func compile(into home: String) throws(LaunchError) -> [String]? {
        var words: [String] = []
        var skipped = 0
        for (index, word) in arguments.enumerated() {
            if skipped > 0 {
                skipped -= 1
            } else if let count = OwnModule.dropped[word] {
                skipped = count
            } else {
                // What was compiled here goes before what SwiftPM has compiled.
                if word == "-I", arguments[index - 1] != "-Xcc" {
                    words += ["-I", home + "/Modules"]
                }
                words.append(word)
            }
        }
        // Traps have lines; a debugger that could ask for more cannot reach a guest.
        words += [
            "-Onone", "-gline-tables-only", "-file-compilation-dir", ".", "-o", "\(home)/\(name).o",
        ]
        words += ["-driver-filelist-threshold=1000000", "-driver-print-jobs"]
        guard let jobs = try EditRecord.planned(words), jobs.count == 1, var job = jobs.first,
            job.contains("-frontend"), sources.allSatisfy(job.contains)
        else { return nil }
        // A temporary file of the driver's, which names no further output.
        if let map = job.firstIndex(of: "-supplementary-output-file-map"), map + 1 < job.count {
            job.removeSubrange(map...map + 1)
        }
        return job + ["-emit-module-path", "\(home)/Modules/\(name).swiftmodule"]
    }
}
