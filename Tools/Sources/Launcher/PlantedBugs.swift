import Foundation

/// Bugs that are put into a copy of the sources, one at a time, to see that the fuzzers find them.
public struct PlantedBugs: Sendable {
    /// A change to the sources that takes a check away, and the fuzzer that must notice.
    public struct Bug: Codable, Sendable {
        /// What is wrong with it.
        public let name: String
        /// The source file, relative to the root of Toro.
        public let file: String
        /// The text that is replaced; it stands in the file once.
        public let text: String
        /// What stands there instead.
        public let planted: String
        /// The folder of the package with the test: "." or "Tools".
        public let package: String
        /// The test that must fail.
        public let test: String
    }

    /// How the fuzzer did.
    public enum Outcome: Equatable, Sendable {
        /// The test failed, crashed or hung.
        case found
        /// The test passed.
        case missed
        /// The changed sources could not be built or tested, for this reason.
        case untested(String)
    }

    /// The bugs there are.
    public let bugs: [Bug]
    private let copy: SourceCopy
    private let swift: SwiftCommand
    /// How long a test may take, in seconds, before it counts as hanging.
    private static let limit = 120.0

    /// The bugs that Toro's `Tests/planted-bugs.json` lists.
    public init(root: String) throws(LaunchError) {
        copy = SourceCopy(of: root, in: root + "/.build/toro/planted")
        swift = try SwiftCommand(temporary: copy.folder + "/tmp")
        let list = root + "/Tests/planted-bugs.json"
        guard let data = FileManager.default.contents(atPath: list) else {
            throw LaunchError("\(list) is missing")
        }
        do {
            bugs = try JSONDecoder().decode([Bug].self, from: data)
        } catch {
            throw LaunchError("\(list) cannot be read: \(error)")
        }
    }

    /// Plants a bug into the copy, runs its test there, and takes the bug out again.
    public func plant(_ bug: Bug) throws(LaunchError) -> Outcome {
        do {
            try copy.refresh(["Package.swift", "Modules", "Platform", "Tests", "Tools"])
            let path = copy.folder + "/" + bug.file
            let source = try String(contentsOfFile: path, encoding: .utf8)
            guard source.components(separatedBy: bug.text).count == 2 else {
                return .untested("its text does not stand in \(bug.file) once")
            }
            try source.replacingOccurrences(of: bug.text, with: bug.planted)
                .write(toFile: path, atomically: false, encoding: .utf8)
            defer { try? source.write(toFile: path, atomically: false, encoding: .utf8) }
            return try test(bug)
        } catch let error as LaunchError {
            throw error
        } catch {
            throw LaunchError("cannot plant \(bug.name): \(reason(error))")
        }
    }

    private func test(_ bug: Bug) throws(LaunchError) -> Outcome {
        let folder = bug.package == "." ? copy.folder : copy.folder + "/" + bug.package
        let common = ["--package-path", folder, "--disable-build-manifest-caching"]
        let built = try swift.capture(["build", "--build-tests"] + common)
        guard built.status == 0 else {
            return .untested("it does not build:\n" + built.output.suffix(2000))
        }
        // A crash is what is wanted: its report would only take time.
        let ended = try swift.capture(
            ["test", "--skip-build", "--filter", bug.test] + common,
            setting: ["SWIFT_BACKTRACE=enable=no"], limit: PlantedBugs.limit)
        guard ended.status == 0 else { return .found }
        guard ended.output.contains(bug.test) else {
            return .untested("there is no test of that name:\n" + ended.output.suffix(2000))
        }
        return .missed
    }
}
