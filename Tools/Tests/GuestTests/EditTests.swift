import Foundation
import Launcher
import Testing
import ToroTesting

/// A debug image after each kind of edit: what boots is what the sources say now.
@Suite(.serialized) struct EditTests {
    @Test func whatBootsIsWhatTheSourcesSay() throws {
        let package = try TestPackage(.console)
        #expect(try package.boot() == ("first", true))
        // Package.resolved may have been made by the first build, which is then not repeated.
        _ = try package.boot()

        try package.say("second")
        #expect(try package.boot() == ("second", false))
        #expect(try package.boot() == ("second", false))

        // A mistake is named, and stays one until it is mended.
        try package.write(
            "public func words() -> StaticString { 3 }\n", "Sources/Words/Words.swift")
        for _ in 0..<2 {
            #expect {
                _ = try package.boot()
            } throws: { "\($0)".contains("Words.swift:1:") }
        }
        try package.say("third")
        #expect(try package.boot() == ("third", false))

        // Another file is SwiftPM's business, and so is the manifest.
        try package.write(
            "public func more() -> StaticString { \"fourth\" }\n", "Sources/Words/More.swift")
        try package.write(
            "public func words() -> StaticString { more() }\n", "Sources/Words/Words.swift")
        #expect(try package.boot() == ("fourth", true))
        try FileManager.default.removeItem(atPath: package.path + "/Sources/Words/More.swift")
        try package.say("fifth")
        #expect(try package.boot() == ("fifth", true))
        try package.defineLoud()
        try package.write(
            """
            #if LOUD
            public func words() -> StaticString { "SIXTH" }
            #else
            public func words() -> StaticString { "sixth" }
            #endif
            """, "Sources/Words/Words.swift")
        #expect(try package.boot() == ("SIXTH", true))
    }

    /// A file that comes when SwiftPM has planned its build is part of the next one.
    @Test func aFileThatComesDuringABuildIsNotMissed() throws {
        let package = try TestPackage(.console)
        var isWritten = false
        let first = try package.boot { output in
            // Modules of others are compiled before this one.
            guard !isWritten, output.contains("Compiling") else { return }
            isWritten = true
            try? package.write("a mistake\n", "Sources/Words/More.swift")
        }
        #expect(first == ("first", true))
        #expect(isWritten)
        #expect {
            _ = try package.boot()
        } throws: { "\($0)".contains("More.swift:1:") }
    }

    /// A file that is put back with its old date is not what was compiled. The module's objects are
    /// linked before the units' here, as its name says.
    @Test func aDateOfOldHidesNothing() throws {
        let package = try TestPackage(.console, module: "Answers")
        _ = try package.boot()
        _ = try package.boot()
        let source = package.path + "/Sources/Answers/Words.swift"
        let date = try FileManager.default.attributesOfItem(atPath: source)[.modificationDate]
        try package.say("other")
        try FileManager.default.setAttributes(
            [.modificationDate: try #require(date)], ofItemAtPath: source)
        #expect(try package.boot() == ("other", false))
    }
}

extension TestPackage {
    /// What the image says that is built now, and whether SwiftPM had a part in it. `onOutput` is
    /// called with what that says meanwhile.
    fileprivate func boot(
        _ onOutput: (String) -> Void = { _ in }
    ) throws -> (console: String, isPlanned: Bool) {
        var isPlanned = false
        let image = try ImageBuild(root: Images.root, configuration: .debug)
            .build(package: path) { bytes in
                isPlanned = true
                onOutput(String(decoding: bytes, as: UTF8.self))
            }
        let console = try Machine(image: image.path).boot(limit: Patience.seconds).console
        return (console.trimmingCharacters(in: .whitespacesAndNewlines), isPlanned)
    }
}
