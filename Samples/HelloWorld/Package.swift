// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "HelloWorld",
    dependencies: [.package(name: "toro", path: "../..")],
    targets: [
        .executableTarget(
            name: "HelloWorld",
            dependencies: [
                .product(name: "ToroCore", package: "toro"),
                .product(name: "ToroMicroVM", package: "toro"),
            ])
    ],
    swiftLanguageModes: [.v6]
)
