"""Descriptions of real crystals, as the describer writes them."""

CA5SB3 = (
    "Ca5Sb3 crystallizes in the hexagonal P6_3/mcm space group. There are two inequivalent Ca sites. In the first Ca "
    "site, Ca(1) is bonded to six equivalent Sb(1) atoms to form a mixture of distorted corner, edge, and face-sharing "
    "CaSb6 octahedra. The corner-sharing octahedral tilt angles are 36°. All Ca(1)-Sb(1) bond lengths are 3.31 Å. In "
    "the second Ca site, Ca(2) is bonded in a 5-coordinate geometry to five equivalent Sb(1) atoms. There are a spread "
    "of Ca(2)-Sb(1) bond distances ranging from 3.11-3.71 Å. Sb(1) is bonded in a 9-coordinate geometry to four "
    "equivalent Ca(1) and five equivalent Ca(2) atoms.")
BI2O3 = (
    "Bi2O3 is Bismite-like structured and crystallizes in the monoclinic P2_1/c space group. Bi(1) is bonded in a "
    "6-coordinate geometry to two equivalent O(1), two equivalent O(2), and two equivalent O(3) atoms. There is one "
    "shorter (2.33 Å) and one longer (2.80 Å) Bi(1)-O(1) bond length. There is one shorter (2.18 Å) and one longer "
    "(2.42 Å) Bi(1)-O(2) bond length. Both Bi(1)-O(3) bond lengths are 2.27 Å. O(1) is bonded in a distorted trigonal "
    "non-coplanar geometry to two equivalent Bi(1) atoms. The O(1)-Bi(2) bond length is 2.17 Å.")
MOS2 = (
    "MoS2 is Molybdenite structured and crystallizes in the hexagonal P6_3/mmc space group. The structure is "
    "two-dimensional and consists of two MoS2 sheets oriented in the (0, 0, 1) direction. Mo(1) is bonded to six "
    "equivalent S(1) atoms to form distorted edge-sharing MoS6 pentagonal pyramids. All Mo(1)-S(1) bond lengths are "
    "2.41 Å. S(1) is bonded in a distorted T-shaped geometry to three equivalent Mo(1) atoms.")
SRTIO3 = (
    "SrTiO3 is (Cubic) Perovskite structured and crystallizes in the cubic Pm-3m space group. Sr(1) is bonded to "
    "twelve equivalent O(1) atoms to form SrO12 cuboctahedra that share corners with twelve equivalent Sr(1)O12 "
    "cuboctahedra, faces with six equivalent Sr(1)O12 cuboctahedra, and faces with eight equivalent Ti(1)O6 octahedra. "
    "All Sr(1)-O(1) bond lengths are 2.79 Å. Ti(1) is bonded to six equivalent O(1) atoms to form TiO6 octahedra that "
    "share corners with six equivalent Ti(1)O6 octahedra and faces with eight equivalent Sr(1)O12 cuboctahedra. The "
    "corner-sharing octahedra are not tilted. All Ti(1)-O(1) bond lengths are 1.97 Å. O(1) is bonded in a distorted "
    "linear geometry to four equivalent Sr(1) and two equivalent Ti(1) atoms.")
UNLABELLED = (
    "Ca5Sb3 crystallizes in the hexagonal P6_3/mcm space group. There are two inequivalent Ca4+ sites. In the first "
    "Ca4+ site, Ca4+ is bonded to six equivalent Sb3- atoms to form distorted edge-sharing CaSb6 octahedra. All Ca-Sb "
    "bond lengths are 3.31 Å. In the second Ca4+ site, Ca4+ is bonded in a 5-coordinate geometry to five equivalent "
    "Sb3- atoms. There are a spread of Ca-Sb bond distances ranging from 3.11-3.71 Å.")
MANY = (
    "MoZn7 crystallizes in the cubic Fm-3m space group. Mo(1) is bonded to twelve Zn(1,1,1,1,1,1,1,1,1,1,1,1) atoms to "
    "form MoZn12 cuboctahedra that share corners with twelve equivalent Mo(1)Zn12 cuboctahedra; edges with twenty-four "
    "Zn(1,1,1)Zn10Mo2 cuboctahedra; and faces with six equivalent Zn(2)Zn12 cuboctahedra. There are two inequivalent "
    "Zn sites. In the first Zn site, Zn(1) is bonded to two equivalent Mo(1); two equivalent Zn(2); and eight "
    "Zn(1,1,1,1,1,1,1,1) atoms to form distorted ZnZn10Mo2 cuboctahedra. Both Zn(1)-Mo(1) bond lengths are 2.77 Å. In "
    "the second Zn site, Zn(2) is bonded in a 12-coordinate geometry to twelve equivalent Zn(1) atoms.")
ALL = {"Ca5Sb3": CA5SB3, "Bi2O3": BI2O3, "MoS2": MOS2, "SrTiO3": SRTIO3, "no labels": UNLABELLED, "many": MANY}
