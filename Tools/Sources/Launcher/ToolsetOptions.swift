import Foundation

/// What the compilers and the linker are told beside what SwiftPM tells them: the toolset of a Swift
/// SDK (SE-0387).
struct ToolsetOptions {
    /// The target, which is the host's own: only for it does the toolchain have what Embedded Swift
    /// needs.
    static let triple = "x86_64-unknown-linux-gnu"

    private let configuration: BuildConfiguration
    private let resources: String

    /// The options of a configuration; `resources` is the toolchain's `lib/swift`.
    init(_ configuration: BuildConfiguration, resources: String) {
        self.configuration = configuration
        self.resources = resources
    }

    /// A release image is compiled to bitcode, of which the linker makes code at once. A debug image
    /// is linked from native objects, so that a changed module is all that is compiled again.
    private var isLinkedAsBitcode: Bool { configuration == .release }

    private var swift: [String] {
        let common = """
            -enable-experimental-feature Embedded -enable-experimental-feature DeferredCodeGen \
            -wmo -O -Xfrontend -import-module -Xfrontend _Concurrency \
            -Xfrontend -function-sections -enforce-exclusivity=unchecked \
            -Xfrontend -disable-dynamic-actor-isolation -use-ld=lld -nostartfiles \
            -Xclang-linker -nostdlib -Xclang-linker -static -Xclang-linker -no-pie
            """
        let own =
            isLinkedAsBitcode
            ? "-Xfrontend -emit-bc -Xfrontend -lto=llvm-full" : "-assert-config Debug"
        return words(common) + words(own)
    }

    private var c: [String] {
        let common = "-ffreestanding -DTORO_MICROVM=1 -ffunction-sections -fdata-sections -O2"
        return words(common) + (isLinkedAsBitcode ? ["-flto"] : [])
    }

    private func linker(home: String) -> [String] {
        let common = """
            --gc-sections --nmagic --no-eh-frame-hdr --build-id=none -mllvm -swift-async-fp=never \
            -lswift_Concurrency -lswiftUnicodeDataTables
            """
        // A higher threshold is more bytes, and no fewer instructions. swift_release is never
        // inlined, which would be copied to all of its thousand places. The other limits on what the
        // code generator doubles, together 3 % of the bytes, were not seen to cost any instructions.
        let whole = """
            --icf=safe --lto-newpm-passes=forceattrs,lto<O2> \
            -mllvm -inline-threshold=130 -mllvm -force-attribute=swift_release:noinline \
            -mllvm -disable-block-placement \
            -mllvm -tail-merge-size=1 -mllvm -split-spill-mode=size \
            -mllvm -disable-constant-hoisting -mllvm -vectorize-loops=false \
            -mllvm -unroll-threshold=0
            """
        return ["-L\(resources)/embedded/\(ToolsetOptions.triple)", "-T", home + "/linker.ld"]
            + words(common) + (isLinkedAsBitcode ? words(whole) : [])
    }

    private func words(_ text: String) -> [String] {
        text.split(separator: " ").map(String.init)
    }

    /// The text of `toolset.json`; `home` is the folder of the linker script.
    func json(home: String) throws -> Data {
        struct Tool: Encodable { let extraCLIOptions: [String] }
        struct Toolset: Encodable {
            let schemaVersion = "1.0"
            let swiftCompiler: Tool
            let cCompiler: Tool
            let linker: Tool
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        return try encoder.encode(
            Toolset(
                swiftCompiler: Tool(extraCLIOptions: swift), cCompiler: Tool(extraCLIOptions: c),
                linker: Tool(extraCLIOptions: linker(home: home))))
    }
}
