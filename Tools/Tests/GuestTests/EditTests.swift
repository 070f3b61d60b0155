import Foundation
import Launcher
import Testing
import ToroTesting

/// A debug image after each kind of edit: what boots is what the sources say now.
@Suite(.serialized) struct EditTests {
    /// A package with a service in a module of its own, below a folder whose name has a space.
    private final class Package {
        let folder: TestFolder
        var path: String { folder.path + "/my service" }

        init() throws {
            folder = try TestFolder()
            try write(
                """
                // swift-tools-version: 6.2
                import PackageDescription
                let package = Package(
                    name: "Words", dependencies: [.package(name: "toro", path: "\(Images.root)")],
                    targets: [
                        .target(name: "Words"),
                        .executableTarget(
                            name: "WordsVM",
                            dependencies: [
                                "Words", .product(name: "ToroCore", package: "toro"),
                                .product(name: "ToroMicroVM", package: "toro"),
                            ]),
                    ],
                    swiftLanguageModes: [.v6])
                """, "Package.swift")
            try write(#"{"product": "WordsVM"}"#, "toro.json")
            try words("first")
            try write(
                """
                import ToroCore
                import ToroMicroVM
                import Words

                struct Speaker: Microservice {
                    func run() async throws(Never) { print(words()) }
                }
                @main struct Appliance: MicroVMAppliance {
                    static func wire(_ vm: MicroVM) async throws(WiringError) -> some Microservice {
                        Speaker()
                    }
                }
                """, "Sources/WordsVM/Appliance.swift")
        }

        func write(_ text: String, _ name: String) throws {
            let file = path + "/" + name
            try FileManager.default.createDirectory(
                atPath: (file as NSString).deletingLastPathComponent,
                withIntermediateDirectories: true)
            try text.write(toFile: file, atomically: true, encoding: .utf8)
        }

        func words(_ text: String) throws {
            try write(
                "public func words() -> StaticString { \"\(text)\" }\n", "Sources/Words/Words.swift"
            )
        }

        /// What the image says that is built now, and whether SwiftPM had a part in it.
        func boot() throws -> (console: String, isPlanned: Bool) {
            var isPlanned = false
            let image = try ImageBuild(root: Images.root, configuration: .debug)
                .build(package: path) { _ in isPlanned = true }
            let console = try Machine(image: image.path).boot(limit: Patience.seconds).console
            return (console.trimmingCharacters(in: .whitespacesAndNewlines), isPlanned)
        }
    }

    @Test func whatBootsIsWhatTheSourcesSay() throws {
        let package = try Package()
        #expect(try package.boot() == ("first", true))
        // Package.resolved may have been made by the first build, which is then not repeated.
        _ = try package.boot()

        try package.words("second")
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
        try package.words("third")
        #expect(try package.boot() == ("third", false))

        // Another file is SwiftPM's business, and so is the manifest.
        try package.write(
            "public func more() -> StaticString { \"fourth\" }\n", "Sources/Words/More.swift")
        try package.write(
            "public func words() -> StaticString { more() }\n", "Sources/Words/Words.swift")
        #expect(try package.boot() == ("fourth", true))
        try FileManager.default.removeItem(atPath: package.path + "/Sources/Words/More.swift")
        try package.words("fifth")
        #expect(try package.boot() == ("fifth", true))
        let manifest = try String(contentsOfFile: package.path + "/Package.swift", encoding: .utf8)
        try package.write(
            manifest.replacingOccurrences(
                of: ".target(name: \"Words\")",
                with: ".target(name: \"Words\", swiftSettings: [.define(\"LOUD\")])"),
            "Package.swift")
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

    /// A file that is put back with its old date is not what was compiled.
    @Test func aDateOfOldHidesNothing() throws {
        let package = try Package()
        _ = try package.boot()
        _ = try package.boot()
        let source = package.path + "/Sources/Words/Words.swift"
        let date = try FileManager.default.attributesOfItem(atPath: source)[.modificationDate]
        try package.words("other")
        try FileManager.default.setAttributes(
            [.modificationDate: try #require(date)], ofItemAtPath: source)
        #expect(try package.boot() == ("other", false))
    }
}
