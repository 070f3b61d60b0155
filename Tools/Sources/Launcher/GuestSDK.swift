import Foundation

/// The Swift SDK bundle that builds guests, made from the installed toolchain.
public struct GuestSDK: Sendable {
    /// The name `swift build --swift-sdk` knows it by.
    public static let name = "toro-microvm"

    /// The folder that holds the bundle: what `--swift-sdks-path` takes.
    public let folder: String

    /// The bundle, which `swift sdk install` takes.
    public var bundle: String { folder + "/\(GuestSDK.name).artifactbundle" }

    private static let triple = "x86_64-unknown-linux-gnu"

    /// Makes the bundle below `parent`, a folder of `root`, in one named by its content and its place,
    /// which the toolset names: a changed toolchain or linker script, or a moved checkout, is a
    /// changed SDK. Does nothing if it is there.
    ///
    /// `root` is the folder of Toro itself.
    public init(root: String, below parent: String) throws(LaunchError) {
        let resources = try GuestSDK.runtimeFolder()
        let script = root + "/Platform/microvm/SDK/linker.ld"
        guard let linker = FileManager.default.contents(atPath: script) else {
            throw LaunchError("\(script) is missing: is \(root) a whole checkout of Toro?")
        }
        // The place is part of the SDK: one spelling of it, whatever leads there.
        let parent = (realPath(root) ?? root) + "/" + parent
        let seed =
            parent + resources + String(decoding: linker, as: UTF8.self) + GuestSDK.options("", "")
        folder = parent + "/sdk-" + GuestSDK.digest(seed)
        guard !FileManager.default.fileExists(atPath: bundle + "/info.json") else { return }
        let home = bundle + "/toro"
        let files = FileManager.default
        do {
            try files.createDirectory(
                atPath: home + "/sysroot/usr", withIntermediateDirectories: true)
            // The sysroot must not be "/": everything would count as inside the SDK.
            try? files.createSymbolicLink(
                atPath: home + "/sysroot/usr/include", withDestinationPath: "/usr/include")
            try linker.write(to: URL(fileURLWithPath: home + "/linker.ld"))
            try write(GuestSDK.options(resources, home), home + "/toolset.json")
            try write(
                """
                {"schemaVersion":"4.0","targetTriples":{"\(GuestSDK.triple)":{
                "sdkRootPath":"sysroot","swiftResourcesPath":"\(resources)",
                "swiftStaticResourcesPath":"\(resources)_static",
                "toolsetPaths":["toolset.json"]}}}
                """, home + "/swift-sdk.json")
            try write(
                """
                {"schemaVersion":"1.0","artifacts":{"\(GuestSDK.name)":{"type":"swiftSDK",
                "version":"1.0","variants":[{"path":"toro",
                "supportedTriples":["\(GuestSDK.triple)"]}]}}}
                """, bundle + "/info.json")
        } catch {
            throw LaunchError("cannot write the SDK to \(folder): \(error.localizedDescription)")
        }
    }

    private func write(_ text: String, _ path: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    }

    private static func options(_ resources: String, _ home: String) -> String {
        func list(_ words: String) -> String {
            words.split(separator: " ").map { "\"\($0)\"" }.joined(separator: ",")
        }
        let swift = """
            -enable-experimental-feature Embedded \
            -enable-experimental-feature DeferredCodeGen -wmo -Osize -Xfrontend -import-module \
            -Xfrontend _Concurrency -Xfrontend -function-sections -enforce-exclusivity=unchecked \
            -Xfrontend -sil-unroll-threshold -Xfrontend 0 -Xllvm -inline-threshold=0 \
            -Xfrontend -disable-dynamic-actor-isolation \
            -Xfrontend -emit-bc -Xfrontend -lto=llvm-full \
            -use-ld=lld -nostartfiles \
            -Xclang-linker -nostdlib -Xclang-linker -static -Xclang-linker -no-pie
            """
        let c = "-ffreestanding -DTORO_MICROVM=1 -ffunction-sections -fdata-sections -Os -flto"
        // Units are compiled to bitcode, and the linker makes code of the whole image at once:
        // what is known to be called from nowhere else needs no calling convention, and what
        // is called from one place only goes there.
        let codeGeneration = [
            "-swift-async-fp=never", "-inline-threshold=0", "-disable-block-placement",
            "-disable-machine-licm", "-split-spill-mode=size", "-tail-merge-size=1",
            "-disable-constant-hoisting", "-min-jump-table-entries=16",
        ].map { "-mllvm \($0)" }.joined(separator: " ")
        let linker = """
            -L\(resources)/embedded/\(triple) -T \(home)/linker.ld --gc-sections --icf=all \
            --nmagic --no-eh-frame-hdr --build-id=none \
            --lto-newpm-passes=lto<O2>,default<Oz> --lto-partitions=2 \(codeGeneration) \
            -lswift_Concurrency -lswiftUnicodeDataTables
            """
        return """
            {"schemaVersion":"1.0","swiftCompiler":{"extraCLIOptions":[\(list(swift))]},
            "cCompiler":{"extraCLIOptions":[\(list(c))]},
            "linker":{"extraCLIOptions":[\(list(linker))]}}
            """
    }

    /// The toolchain's `lib/swift`, with what Embedded Swift needs in it.
    static func runtimeFolder() throws(LaunchError) -> String {
        guard let compiler = Command.find("swiftc") else {
            throw .missing("swiftc is not in PATH: install Swift 6.3 from swift.org/install")
        }
        struct Info: Decodable {
            struct Paths: Decodable { let runtimeResourcePath: String }
            let paths: Paths
        }
        let text = try Command.capture(compiler, ["-print-target-info"]).output
        guard let info = try? JSONDecoder().decode(Info.self, from: Data(text.utf8)) else {
            throw LaunchError("swiftc -print-target-info answered something else than JSON")
        }
        let resources = info.paths.runtimeResourcePath
        let library = "\(resources)/embedded/\(triple)/libswift_Concurrency.a"
        guard FileManager.default.fileExists(atPath: library) else {
            throw .missing("this Swift toolchain lacks \(library): Toro needs Swift 6.3")
        }
        return resources
    }

    /// FNV-1a, 64 bits: names a folder, protects nothing.
    private static func digest(_ text: String) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return String(hash, radix: 16)
    }
}
