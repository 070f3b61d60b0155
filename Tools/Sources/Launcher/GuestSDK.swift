import Foundation

/// The Swift SDK bundle that builds guests in one configuration, made from the installed toolchain.
public struct GuestSDK: Sendable {
    /// What it builds.
    public let configuration: BuildConfiguration

    /// The folder that holds the bundle: what `--swift-sdks-path` takes.
    public let folder: String

    /// The toolchain's `lib/swift`.
    let resources: String

    /// The name `swift build --swift-sdk` knows it by.
    public var name: String { GuestSDK.name(configuration) }

    /// The bundle, which `swift sdk install` takes.
    public var bundle: String { folder + "/\(name).artifactbundle" }

    /// The name of the SDK of a configuration.
    public static func name(_ configuration: BuildConfiguration) -> String {
        switch configuration {
        case .debug: "toro-microvm-debug"
        case .release: "toro-microvm"
        }
    }

    /// Makes the bundle below `parent`, a folder of `root`, in one named by its content and its place,
    /// which the toolset names: a changed toolchain or linker script, or a moved checkout, is a
    /// changed SDK. Does nothing if it is there.
    ///
    /// `root` is the folder of Toro itself.
    public init(
        root: String, below parent: String, configuration: BuildConfiguration
    ) throws(LaunchError) {
        self.configuration = configuration
        resources = try GuestSDK.runtimeFolder()
        let script = root + "/Platform/microvm/SDK/linker.ld"
        guard let linker = FileManager.default.contents(atPath: script) else {
            throw LaunchError("\(script) is missing: is \(root) a whole checkout of Toro?")
        }
        // The place is part of the SDK: one spelling of it, whatever leads there.
        let parent = (realPath(root) ?? root) + "/" + parent
        let options = ToolsetOptions(configuration, resources: resources)
        do {
            let seed = Data((parent + "\n" + resources + "\n").utf8) + linker
            folder = parent + "/sdk-" + GuestSDK.digest(try seed + options.json(home: ""))
            guard !FileManager.default.fileExists(atPath: bundle + "/info.json") else { return }
            try write(options, linker, resources)
        } catch {
            throw LaunchError("cannot write an SDK to \(parent): \(reason(error))")
        }
    }

    private func write(_ options: ToolsetOptions, _ linker: Data, _ resources: String) throws {
        let home = bundle + "/toro"
        let files = FileManager.default
        try files.createDirectory(atPath: home + "/sysroot/usr", withIntermediateDirectories: true)
        // The sysroot must not be "/": everything would count as inside the SDK.
        try? files.createSymbolicLink(
            atPath: home + "/sysroot/usr/include", withDestinationPath: "/usr/include")
        try linker.write(to: URL(fileURLWithPath: home + "/linker.ld"))
        try options.json(home: home).write(to: URL(fileURLWithPath: home + "/toolset.json"))
        let triple = ToolsetOptions.triple
        try write(
            [
                "schemaVersion": "4.0",
                "targetTriples": [
                    triple: [
                        "sdkRootPath": "sysroot", "swiftResourcesPath": resources,
                        "swiftStaticResourcesPath": resources + "_static",
                        "toolsetPaths": ["toolset.json"],
                    ]
                ],
            ], home + "/swift-sdk.json")
        let variant: [String: Any] = ["path": "toro", "supportedTriples": [triple]]
        try write(
            [
                "schemaVersion": "1.0",
                "artifacts": [
                    name: ["type": "swiftSDK", "version": "1.0", "variants": [variant]]
                ],
            ], bundle + "/info.json")
    }

    private func write(_ value: [String: Any], _ path: String) throws {
        let options: JSONSerialization.WritingOptions = [.sortedKeys, .withoutEscapingSlashes]
        try JSONSerialization.data(withJSONObject: value, options: options)
            .write(to: URL(fileURLWithPath: path))
    }

    /// The toolchain's `lib/swift`, with what Embedded Swift needs in it.
    static func runtimeFolder() throws(LaunchError) -> String {
        struct Info: Decodable {
            struct Paths: Decodable { let runtimeResourcePath: String }
            let paths: Paths
        }
        let text = try SwiftCommand("swiftc").capture(["-print-target-info"]).output
        guard let info = try? JSONDecoder().decode(Info.self, from: Data(text.utf8)) else {
            throw LaunchError("swiftc -print-target-info answered something else than JSON")
        }
        let resources = info.paths.runtimeResourcePath
        let library = "\(resources)/embedded/\(ToolsetOptions.triple)/libswift_Concurrency.a"
        guard FileManager.default.fileExists(atPath: library) else {
            throw .missing("this Swift toolchain lacks \(library): Toro needs Swift 6.3")
        }
        return resources
    }

    /// The toolchain itself: the folder, often called `usr`, that holds `bin` and `lib`.
    public static func toolchainFolder() throws(LaunchError) -> String {
        ((try runtimeFolder() as NSString).deletingLastPathComponent as NSString)
            .deletingLastPathComponent
    }

    /// FNV-1a, 64 bits: names a folder, protects nothing.
    private static func digest(_ bytes: Data) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return String(hash, radix: 16)
    }
}
