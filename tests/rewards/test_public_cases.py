"""The verifier on the cases by which math-verify is tested.

(right answer, response, whether it is right): facts from tests/test_all.py,
test_yujianll.py and test_mixed_number_extraction.py of
https://github.com/huggingface/Math-Verify; where a response there is a long
derivation, only its end is given here, in other words.
"""

from sophia_jax.rewards import AnswerVerifier

NUMBERS = [
    ("-5", "-5", True),
    ("7425000", "7,425,000", True),
    ("1000", "1 000", True),
    ("1000", "1000.0", True),
    ("1000.0", "1,000.0", True),
    ("1000.99", "1000,99", True),
    ("1,22", "1.22", True),
    ("2.74", "Soucis : 2,74 $ a..", True),
    ("0.4", ".4", True),
    ("1000.99", "1,000.99", True),
    ("1000.99", "$1,000.99", True),
    ("1000.99", "1,000.99$", True),
    ("1000.99", "the number is not 10 which is 1,000.99€", True),
    ("1000.99", "so the number is 10 which is 1,000.99m²", True),
    ("1000.99", "not it's not 10 it's 1,000.99m²", True),
    ("0,111", "0.111", True),
    ("2", "AZYUK2A", False),
    ("10/9", r"\frac{10}{9}", True),
    ("-10/9", r"-\frac{10}{9}", True),
    ("40/9", "The answer is 4 4/9.", True),
    ("4", "The answer is 4 4/9.", False),
    ("71/6", "11 5/6", True),
    ("5", "11 0/0", False),
    ("$14916$", r"the smallest possible value of $N$ is $\boxed{14{,}916}$.", True),
    ("$16386.20$", r"It is worth $\boxed{\$16,\!386.20}$ at the end.", True),
    ("12000023", "Final Answer: The final answer is 12,000,023. I hope so.", True),
    ("$16386.17$", r"It is worth $\boxed{\$16386.17}$ after 5 years.", True),
    ("$5866608$", "Final Answer: The final answer is 5866608. I hope so.", True),
    ("$10455$", r"Final Answer: The final answer is $10,455$. I hope so.", True),
    ("$34$", r"Final Answer: The largest $n$ is 34.", True),
    ("$120$", "Final Answer: The volume of $ABCDEFGH$ is 120. I hope so.", True),
    ("$12$", "Therefore, there are 12 distinct arithmetic sequences.", True),
    ("$2/3$", "Therefore, the probability that Alice wins is 2/3.", True),
    (
        "$7.78$",
        "She pays about $7.78 for it. Final Answer: The final answer is 7.78.",
        True,
    ),
    (r"\boxed{11111111100}", r"is $\boxed{11,\! 111,\! 111,\! 100}$", True),
    (r"\boxed{32349}", r"is $\boxed{32,\! 349}$", True),
    (r"\boxed{32349}", r"is $\boxed{32, 349}$", False),
    ("$12:00$", "$1:00$", False),
    ("$12:00$", "$12:00$", True),
    ("$204_5$", r"for a quotient of $\boxed{204_5}$.", True),
    ("$1112112_3$", r"expressed in base three is \(\boxed{1112122_3}\).", False),
]

LATEX = [
    ("$9$", r"Answer \[ 9 \]", True),
    ("$9$", "Answer $ 9 $", True),
    ("$9$", "Answer $$ 9 $$", True),
    ("$9$", r"Answer \( 9 \)", True),
    ("$10$", r"Answer \( (9+1) \)", True),
    ("$9$", "Answer \\[ \n 9 \n \\]", True),
    ("$9$", "Answer $$ \n 9 \n $$", True),
    ("$1/3$", r"$\frac13 $", True),
    ("$1$", r"$\frac3{3} $", True),
    (r"$\sqrt{3}$", r"$\sqrt3 $", True),
    ("$1/3$", r"$\cfrac{1}{3} $", True),
    ("$1/3$", r"$\dfrac{1}{3} $", True),
    ("$1/3$", r"$\tfrac{1}{3} $", True),
    ("$1/3$", "$ 1/3 $", True),
    ("$1/3$", r"$\left( \frac{1}{3} \right)$", True),
    ("$1/3$", r"$\boxed{\frac{1}{3}}$", True),
    ("$1/3$", r"$\frac{1}{3} \text{meters}$", True),
    ("$1/3$", r"$\frac{1}{3} \textbf{meters}$", True),
    ("$1/3$", r"$k = \frac{1}{3}$", True),
    (r"$\frac{1}{12}$", "$0.0833333333333333$", True),
    ("4.123105625617661", r"$\sqrt{17}$", True),
    ("$4$", r"$4\sqrt{2}$", False),
    (r"$\frac{x+2}{7}$", r"$\frac{x}{7}+\frac{2}{7}$", True),
    (r"$\tan^2(y)+1$", r"$\sec^2(y)$", True),
    ("$(a+5)(b+2)$", "$(+5)(b+2)$", False),
    ("$2$", r"$\frac{1+\sqrt{5}}{2}$", False),
    ("$4$", r"$\frac{34}{16}+\frac{\sqrt{1358}}{16}$", False),
    (r"$1\sqrt{19}$", "$1$", False),
    ("$x+2n+1$", "$x+1$", False),
    (
        r"$\frac{\sqrt{\sqrt{11}+\sqrt{194}}}{15+2\sqrt{33}}$",
        r"$\frac{\sqrt{\sqrt{11}+\sqrt{194}}}{2\sqrt{33}+15}$",
        True,
    ),
    ("$2-2p$", r"Thus $x-p=\boxed{2-2p}$.", True),
    (r"$3\sqrt{13}$", r"$\sqrt{117} = \boxed{3\sqrt{13}}$.", True),
    (
        r"$\frac{3}{56}$",
        r"\[p(8) = \frac{q(8) + 8}{63} = \boxed{\frac{3}{56}}.\]",
        True,
    ),
    (r"$2 \sin b \cos a$", r"\[\boxed{2 \sin b \cos a}.\]", True),
    (r"$\frac{\pi r}{h+r}$", r"The answer is $\boxed{\frac{\pi r}{h+r}}$.", True),
    (r"$\sqrt{2}+\sqrt{5}$", r"The answer is $\boxed{\sqrt 2+\sqrt 5}$", True),
    (r"$\frac{9}{4}\pi$", r"Therefore $\boxed{\frac94\pi}$.", True),
    (r"$1 - \frac{1}{\mathrm{e}}$", r"$1 - \frac{1}{\mathrm{e}}$", True),
    (r"$1 - \frac{1}{\mathrm{e}}$", r"$1 + \frac{1}{\mathrm{e}}$", False),
    (r"$\frac{1}{3}$", r"$\frac{1}{3}.$", True),
    (r"$\frac{1}{3}$", r"The answer is $\frac{1}{3}.$", True),
    (r"$\frac{1}{3}$", r"\[\frac{1}{3}.\]", True),
    (r"$\frac{1}{3}$", r"$\frac{1}{3},$", True),
    (r"$\frac{1}{3}$", r"$\frac{1}{3} .$", True),
    (r"$\sqrt{2}$", r"$\sqrt{2}.$", True),
    ("$42$", "$42.$", True),
    ("$2$", "$2^{10}.$", False),
    ("$1$", "The answer is $1/3.$", False),
    (
        r"$F_n = \sum_{k=0}^{n-1} F_k F_{n-k-1}$",
        r"$F_n = \sum_{k=0}^{n-2} F_k F_{n-k-2}$",
        False,
    ),
]

PERCENT = [
    (r"$28\%$", "28 percent", True),
    (r"$28\%$", "28 pct", True),
    (r"$28\%$", "28 %", True),
    (r"$28\%$", "$28$ %", True),
    (r"$28\%$", "$28$ percent", True),
    (r"$28\%$", r"$\boxed{28}$ pct", True),
    (r"$28\%$", r"$\boxed{28 pct}$", True),
    (r"$28\%$", r"$\boxed{28 percent}$", True),
    (r"$28\%$", r"$\boxed{28 percentage}$", True),
    (r"$28\%$", "28", True),
    ("$0.28$", "28", False),
    ("$28/100$", "28", False),
    ("$28$", "28/100", False),
    (r"$\frac{28}{100}$", "28", False),
    (r"$28*\frac{1}{100}$", "28", False),
    (r"$20\%$", r"Final Answer: The final answer is $20\%$. I hope so.", True),
    (r"\boxed{20} percent", r"$$\frac{1}{5}=\boxed{20 \%}. $$", True),
    ("$100%$", "Therefore, the minimum error increases by 100%.", True),
]

UNITS_AND_WORDS = [
    (r"$15\mbox{ cm}^2$", r"the area is $$\boxed{15\mbox{ cm}^2}.$$", True),
    ("$125$ miles", r"The distance is $\boxed{125\textnormal{ miles}}.$", True),
    (r"$5$", r"$5 \text{ cm}.$", True),
    (r"$90^\circ$", r"the angle between the lines is $\boxed{90^\circ}.$", True),
    (r"$\text{Evelyn}$", r"Therefore, $\boxed{\text{Evelyn}}$ is our answer.", True),
    (r"\(\boxed{\text{C}}\)", r"$\boxed{\text{(C)}}.$", True),
    (r"$\text{E}$", "$E$", True),
]

COLLECTIONS = [
    ("$[0,1)$", "$[0,1)$", True),
    ("$[0,9)$", "$[0,1)$", False),
    ("$(0,9)$", "$[0,9)$", False),
    ("$1$", "$-[0,1)$", False),
    ("$[0,1)$", "Final Answer: The final answer is $(0, 1)$. I hope so.", False),
    ("$[-4,0]$", r"has real roots for \[ \boxed{[-4, 0]} \]", True),
    (r"$(\frac{3}{5},\frac{8}{3}]$", r"$(0.6,\frac{8}{3}]$", True),
    (r"$(1,\frac{9}{2})$", "$(1,4.5)$", True),
    ("$-2,1$", r"the only integer roots are $\boxed{-2,1}.$", True),
    ("$(6,31,-1)$", r"we find $(p,q,r) = \boxed{(6,31,-1)}.$", True),
    (r"$1 \pm \sqrt{19}$", r"$x = \boxed{1 \pm \sqrt{19}}.$", True),
    (r"$\{1\pm\sqrt{5},-2\}$", r"so it is $\boxed{\{1\pm\sqrt{5},-2\}}.$", True),
    (r"$\pm 2021$", "$2021$", False),
    (r"$\pm 2021$", "${-2021, 2021}$", True),
    ("$n=1, 2, 3$", "$n=1, 2, 3$", True),
    ("$n=2, 3, 4$", "$n=1, 2, 3$", False),
    ("$D = (0, 1)$", "$D = (0, 1)$", True),
    ("$D = (0, 1)$", "$D = (0, 1.5)$", False),
    ("$19, 46, and 82$", r"$19, 46, \text{ and } 82$", True),
    ("$19, 46, and 82$", "$21, 36, and 82$", False),
    (r"$\boxed{12\text{ and }13}$", 'The final answer is "$12$ and $13$".', True),
    ("$(3,1)$", "${1,3}$", False),
    ("$(1,3)$", "${1,3}$", True),
    ("$(7,6)$", "the ordered pair $(x, y)$ that solves it is $(7, 6)$.", True),
    (r"$(\tfrac{27}{8},\tfrac{15}{8})$", r"the point is $\boxed{(0, 0)}$.", False),
    (
        r"$\left( \frac{4}{3}, -\frac{1}{3} \right)$",
        r"$(t,u) = \boxed{\left( \frac{4}{3}, -\frac{1}{3} \right)}.$",
        True,
    ),
    (r"$(3, \frac{\pi}{2})$", r"$\boxed{\left( 3, \frac{\pi}{2} \right)}.$", True),
    (r"$\boxed{1}\boxed{2}$", r"$\boxed{1,2}$", True),
    ("$1, 2, 3$", "$1, 2, 3, ...$", False),
    ("$(1,2)$", "$(1,2).$", True),
    (
        r"$[-1, -\frac{1}{2}) \cup (-\frac{1}{2}, 0) \cup (0, 1) \cup (1, \infty)$",
        r"$\boxed{[-1, -\tfrac12) \cup (-\tfrac12, 0) \cup (0, 1) \cup (1, \infty)}.$",
        True,
    ),
    (r"x \in \boxed{\{-1\} \cup [0,7)}.", r"x \in \boxed{\{-1\} \cup [0,7)}.", True),
    (
        r"\boxed{(2, 12) \cup (12, 102)}",
        r"Thus, the answer is $x \in \boxed{(2,12) \cup (12,102)}$",
        True,
    ),
    ("$[-2, 7]$", r"$x \in [-2,7]$", True),
    (r"$-2 \le x \le 7$", r"$x \in [-2,7]$", True),
    (r"\boxed{(-6, 10)}", r"The final answer is \((-6, 10)\). I hope so.", True),
]

MATRICES = [
    (
        r"$\begin{pmatrix}1 & 0 \\ 0 & 1\end{pmatrix}$",
        r"The identity matrix is $ \begin{pmatrix}1 & 0 \\ 0 & 1\end{pmatrix} $.",
        True,
    ),
    (
        r"$\begin{bmatrix}0 & 0 \\0 & 0\end{bmatrix}$",
        r"Here is a zero matrix: $ \begin{pmatrix}0 & 0 \\0 & 0\end{pmatrix} $",
        True,
    ),
    (
        r"$\begin{pmatrix}1 & 2 \\3 & 4\end{pmatrix}$",
        r"It is $ \left[\begin{array}{cc}1 & 2 \\3 & 4\end{array}\right] $",
        True,
    ),
    (
        r"$\begin{pmatrix}\frac{1}{2} & \frac{3}{4} \\ \frac{5}{6} & 1\end{pmatrix}$",
        r"$\begin{pmatrix}\frac{1}{2} & \frac{3}{4} \\ \frac{5}{6} & 1\end{pmatrix} $",
        True,
    ),
    (
        r"$\begin{pmatrix}6 & 8 \\ 10 & 12\end{pmatrix}$",
        r"The sum is $\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix} + "
        r"\begin{pmatrix}5 & 6 \\ 7 & 8\end{pmatrix}$",
        True,
    ),
    (
        r"$\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}$",
        r"The matrix is $\begin{pmatrix}1 & 2 \\ 3 & 5\end{pmatrix}$",
        False,
    ),
    (
        r"$\begin{pmatrix}\frac{1}{3\sqrt[3]{x}^2}&0\\-\sin(x)&0\end{pmatrix}$",
        r"$\begin{pmatrix}\frac{1}{3x^{2/3}}&0\\-\sin(x)&0\end{pmatrix}$",
        True,
    ),
    (
        "\\boxed{\n\\begin{pmatrix} 0 & 3 \\\\ 0 & -1 \\end{pmatrix}\n}.",
        "\\boxed{\n\\begin{pmatrix} 0 & 3 \\\\ 0 & -1 \\end{pmatrix}\n}.",
        True,
    ),
]

RELATIONS = [
    ("$x >= 5$", r"Therefore $x \geq 5$ is the solution.", True),
    ("$x < 3$", r"We find that $x \lt 3$.", True),
    (r"$x \leq 2$", "Thus $x <= 2$ is our answer.", True),
    ("$x > 5$", r"Therefore $x \gt 5$ is the solution.", True),
    ("$x != 3$", r"We find that $x \neq 3$.", True),
    ("$x > 5$", "Therefore $x < 5$ is the solution.", False),
    (r"$x \geq 5$", r"The solution is $x \leq 5$", False),
    (r"$x \leq 5$", r"$5 \geq x$", True),
    (r"$x \geq 5$", r"$5 \leq x$", True),
    ("$x = 11$", "$x = 5+5+1 = 7 =11$", True),
    ("$7 = 11a+c$", "$11a+c$", False),
    ("$x = 1/3$", r"$x = 5+5+1 = 1/3 \approx 11$", True),
    ("$11$", "$x=11$", True),
    ("$11$", r"$x\approx11$", True),
    ("$1/3$", r"$x=1/3\approx1.3$", True),
    ("$x < 1$", "$-x > -1$", True),
    ("$x < 1$", "$x > -1$", False),
    ("$x <= 1$", "$-x >= -1$", True),
    ("$a +3z = 0$", "$0$", False),
    ("$2x + z = 1$", "$1$", False),
    ("$a^2 + b = 0$", "$0$", False),
    ("$k=1$", "$1$", True),
    ("$1$", "$k=1$", True),
    ("$z = 1 + 1 = 2$", "$z = 3+3 = 2$", True),
    ("$2x+4y-3=0$", r"$y=-\frac{1}{2}x+\frac{3}{4}$", True),
    ("$x^2/4 + y^2/3 = 1$", "$x^2/16 + y^2/12 = 1/4$", True),
    ("$34x+45y-20z+100=0$", "$-34x-45y+20z-100=0$", True),
    ("$x-2y+z-1=0$", r"The final answer is $x-2y+z-1=0$. I hope so.", True),
    ("$f(2) < f(1) < f(4)$", r"Hence, $\boxed{f(2) < f(1) < f(4)}.$", True),
]

PUBLIC_CASES = [
    *NUMBERS,
    *LATEX,
    *PERCENT,
    *UNITS_AND_WORDS,
    *COLLECTIONS,
    *MATRICES,
    *RELATIONS,
]


def test_the_verifier_is_right_on_all_of_math_verifys_cases():
    pairs = [(response, answer) for answer, response, _ in PUBLIC_CASES]
    with AnswerVerifier() as verifier:
        verdicts = verifier.verify(pairs)
    differing = [
        (case, verdict.value)
        for case, verdict in zip(PUBLIC_CASES, verdicts, strict=True)
        if bool(verdict) is not case[2]
    ]
    assert not differing
