import ToroCore
